//! Pushing an image of firmware (DSP0266, "Multipart HTTP push update"): the controller fetches it and hands it on as it
//! comes, so that no image is kept.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use url::Url;

use super::{
    client::Client,
    task::Started,
    transport::{Call, Upload},
};
use crate::bmc::BmcError;

/// Larger than any image of firmware.
const MAX_IMAGE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// How long fetching and pushing may take.
const WITHIN: Duration = Duration::from_secs(30 * 60);

/// Pushes the image at `url` to `link`.
pub(super) async fn image(
    client: &Client,
    link: &str,
    targets: &[String],
    url: &Url,
) -> Result<Started, BmcError> {
    let unusable =
        |problem: String| BmcError::DriverInfo(format!("the firmware at {}: {problem}", shown(url)));
    let response = reqwest::Client::builder()
        .tls_backend_preconfigured(super::tls::public().map_err(|error| unusable(error.to_string()))?)
        .connect_timeout(Duration::from_secs(30))
        .read_timeout(client.transport.pace.request)
        .timeout(WITHIN)
        // The operator named this place and no other.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(|error| unusable(error.to_string()))?
        .get(url.clone())
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| match error.is_timeout() {
            true => unusable("its server does not answer".into()),
            false => unusable(error.without_url().to_string()),
        })?;
    if !response.status().is_success() {
        let status = response.status();
        return Err(unusable(format!("its server answers {status}: name the place where the file is")));
    }
    let size =
        response.content_length().ok_or_else(|| unusable("its server does not say how long it is".into()))?;
    if size == 0 || size > MAX_IMAGE_BYTES {
        return Err(unusable(format!("{size} bytes are no image of firmware")));
    }
    let boundary = hex::encode(rand::random::<[u8; 16]>());
    let parameters = json!({"Targets": targets, "@Redfish.OperationApplyTime": "Immediate"});
    let name = url.path_segments().and_then(|mut all| all.next_back()).unwrap_or_default();
    let name: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).take(100).collect();
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"UpdateParameters\"\r\nContent-Type: application/json\
         \r\n\r\n{parameters}\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"UpdateFile\"; \
         filename=\"{name}\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let length = size + head.len() as u64 + tail.len() as u64;
    let parts = stream::once(async move { Ok(head.into()) })
        .chain(response.bytes_stream())
        .chain(stream::once(async move { Ok(tail.into()) }));
    let upload = Upload {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        length,
        body: reqwest::Body::wrap_stream(parts),
        within: WITHIN,
    };
    let call = Call { method: &http::Method::POST, link, body: None, if_match: None };
    let answer = client.upload(call, upload).await?;
    Ok(client.started(&call, &answer)?)
}

/// Without user, password and query, which may be secret.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_password(None).ok();
    url.set_username("").ok();
    url.to_string()
}
