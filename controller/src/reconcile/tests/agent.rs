//! The agent of a simulated machine: reads its boot parameters from the medium it booted, enrols, opens its
//! session, dials again when that ends, never runs a step twice.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bessemer_proto::{
    boot_parameters::{BootParameters, region},
    digest::Digest,
    step::{
        BootEntryMethod, ImageFormat, SetBootEntryResult, WriteConfigDriveArguments, WriteConfigDriveResult,
        WriteImageArguments, WriteImageReceipt, WrittenDevice,
    },
    v1::{
        AgentEvent, ControllerCommand, EnrollRequest, Hello, StepFinished, StepStarted, StepStatus,
        agent_client::AgentClient, agent_event::Event, controller_command::Command,
    },
};
use chrono::Utc;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use url::Url;

use super::{
    REGION,
    machine::{Machine, Treatment},
};

type Identity = (CertificateDer<'static>, Vec<u8>);
type Outcomes = HashMap<String, StepFinished>;

/// Runs until the machine loses power.
pub(super) async fn run(machine: Machine, medium: Url) {
    let parameters = parameters(medium).await;
    let key = KeyPair::generate().unwrap();
    let certificate = loop {
        match enroll(&parameters, &key).await {
            Ok(certificate) => break certificate,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let identity = (certificate, key.serialize_der());
    let mut outcomes = Outcomes::new();
    loop {
        session(&machine, &parameters, &identity, &mut outcomes).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// From the region of the ISO, as the ramdisk does it.
async fn parameters(medium: Url) -> BootParameters {
    let client = super::http_client();
    let range = format!("bytes={}-{}", REGION.offset, REGION.offset + REGION.length - 1);
    let answer = client.get(medium).header("range", range).send().await.unwrap();
    assert_eq!(answer.status(), 206);
    let bytes = answer.bytes().await.unwrap();
    let text = region::text(&bytes).unwrap().expect("no parameters in the region");
    let parsed = BootParameters::parse(text).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    parsed.parameters
}

async fn enroll(parameters: &BootParameters, key: &KeyPair) -> Result<CertificateDer<'static>, String> {
    let request = EnrollRequest {
        boot_id: parameters.boot.to_string(),
        join_token: parameters.token.reveal().to_owned(),
        csr_der: CertificateParams::default().serialize_request(key).unwrap().der().to_vec(),
        agent_version: "1".into(),
        agent_time_ms: Utc::now().timestamp_millis(),
    };
    let mut client = dial(parameters, None).await?;
    let answer = client.enroll(request).await.map_err(|status| status.to_string())?;
    Ok(answer.into_inner().certificate_der.into())
}

async fn dial(
    parameters: &BootParameters,
    identity: Option<&Identity>,
) -> Result<AgentClient<Channel>, String> {
    let mut roots = RootCertStore::empty();
    roots.add(parameters.ca_certificates[0].clone().into()).unwrap();
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match identity {
        None => tls.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
            tls.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
        }
    };
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(tls));
    let address = parameters.controllers[0].clone();
    let connect = tower::service_fn(move |_: http::Uri| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let tcp = TcpStream::connect(address).await?;
            let name = ServerName::try_from(bessemer_proto::identity::CONTROLLER_SERVER_NAME).unwrap();
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, tcp).await?))
        }
    });
    let channel = Endpoint::from_static("http://controller").connect_with_connector(connect).await;
    channel.map(AgentClient::new).map_err(|error| error.to_string())
}

/// One session, until it ends.
async fn session(
    machine: &Machine,
    parameters: &BootParameters,
    identity: &Identity,
    outcomes: &mut Outcomes,
) {
    let Ok(mut client) = dial(parameters, Some(identity)).await else { return };
    let (events, stream) = mpsc::channel(16);
    let Ok(commands) = client.session(ReceiverStream::new(stream)).await else { return };
    let mut commands = commands.into_inner();
    let supported = ["inspect", "write_image", "write_config_drive", "set_boot_entry", "power_off"];
    let hello = Hello {
        agent_version: "1".into(),
        boot_id: parameters.boot.to_string(),
        supported_steps: supported.map(str::to_owned).to_vec(),
        running_step_id: String::new(),
    };
    say(&events, Event::Hello(hello)).await;
    while let Ok(Some(ControllerCommand { command: Some(command) })) = commands.message().await {
        let Command::RunStep(step) = command else { continue };
        say(&events, Event::StepStarted(StepStarted { step_id: step.step_id.clone() })).await;
        let finished = match outcomes.get(&step.step_id) {
            Some(finished) => finished.clone(),
            None => {
                let Some(finished) =
                    carry_out(machine, &step.step_id, &step.name, &step.arguments_json).await
                else {
                    continue;
                };
                outcomes.insert(step.step_id.clone(), finished.clone());
                machine.lock().done.push(step.name.clone());
                finished
            }
        };
        say(&events, Event::StepFinished(finished)).await;
        if step.name == "power_off" {
            tokio::time::sleep(Duration::from_millis(20)).await;
            machine.cut_power();
        }
    }
}

async fn carry_out(machine: &Machine, id: &str, name: &str, arguments: &str) -> Option<StepFinished> {
    let treatment = machine.lock().steps.get(name).copied();
    let mut finished = StepFinished {
        step_id: id.to_owned(),
        status: StepStatus::Succeeded.into(),
        result_json: result(name, arguments).to_string(),
        error: String::new(),
    };
    match treatment {
        None => {}
        Some(Treatment::Slow(millis)) => tokio::time::sleep(Duration::from_millis(millis)).await,
        Some(Treatment::Hang) => return None,
        Some(Treatment::LosePower) => machine.cut_power(),
        Some(Treatment::Fail) => {
            finished.status = StepStatus::Failed.into();
            finished.result_json = String::new();
            finished.error = "the body was short".into();
        }
    }
    if name == "write_config_drive" && matches!(treatment, None | Some(Treatment::Slow(_))) {
        let content = config_drive(arguments).await;
        machine.lock().config_drive = Some(content);
    }
    Some(finished)
}

fn result(name: &str, arguments: &str) -> Value {
    match name {
        "write_image" => {
            let arguments: WriteImageArguments = serde_json::from_str(arguments).unwrap();
            serde_json::to_value(WriteImageReceipt {
                device: WrittenDevice { name: "/dev/sda".into(), size: 1 << 32, ..WrittenDevice::default() },
                digest: digest(&arguments),
                format: ImageFormat::Raw,
                manifest_digest: None,
                bytes_received: 1,
                bytes_written: 1,
                seconds: 0.5,
                seconds_to_first_byte: 0.1,
                peak_memory_kib: 1,
                choice: Vec::new(),
                work: Default::default(),
            })
            .unwrap()
        }
        "write_config_drive" => serde_json::to_value(WriteConfigDriveResult {
            device: "/dev/sda".into(),
            partition: 3,
            partition_offset: 1 << 30,
            partition_size: 64 << 20,
            bytes_written: 1,
            reused: false,
        })
        .unwrap(),
        "set_boot_entry" => serde_json::to_value(SetBootEntryResult {
            method: BootEntryMethod::RemovablePath,
            loader: None,
            entry: None,
            label: None,
        })
        .unwrap(),
        _ => json!({}),
    }
}

/// Fetches it as the agent does: again, while the controller that offered it is starting.
async fn config_drive(arguments: &str) -> Vec<u8> {
    let arguments: WriteConfigDriveArguments = serde_json::from_str(arguments).unwrap();
    loop {
        if let Ok(answer) = super::http_client().get(arguments.url.reveal()).send().await
            && answer.status() == 200
        {
            let content = answer.bytes().await.unwrap().to_vec();
            assert_eq!(arguments.digest.bytes(), &sha2::Sha256::digest(&content)[..]);
            return content;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn digest(arguments: &WriteImageArguments) -> Digest {
    match &arguments.digest {
        bessemer_proto::step::DigestSource::Value(digest) => digest.clone(),
        other => panic!("{other:?}"),
    }
}

async fn say(events: &mpsc::Sender<AgentEvent>, event: Event) {
    let event = AgentEvent { sequence: 1, time_ms: Utc::now().timestamp_millis(), event: Some(event) };
    events.send(event).await.ok();
}
