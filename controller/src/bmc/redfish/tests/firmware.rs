//! Updates of firmware: fetched by the BMC, or pushed.

use super::*;
use crate::bmc::Outcome;

fn link(path: &str) -> Value {
    json!({"@odata.id": path})
}

async fn with_update_service(service: Value) -> Mock {
    let mock = Mock::start().await;
    mock.set("/redfish/v1/", "/UpdateService", link("/redfish/v1/UpdateService"));
    mock.add(json!({"/redfish/v1/UpdateService": service}));
    mock
}

#[tokio::test]
async fn firmware_is_fetched_by_the_bmc_and_its_job_survives_us() {
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let mock = with_update_service(json!({"Actions": {"#UpdateService.SimpleUpdate": {
        "target": action, "TransferProtocol@Redfish.AllowableValues": ["HTTP", "HTTPS"]}}}))
    .await;
    let update = || bmc(&mock).firmware_update.unwrap();
    let url = "http://192.0.2.9/bios.bin".parse().unwrap();
    mock.model().knobs.task = Some(json!({"TaskState": "Completed"}));
    let job = update().update("bios", &url).await.unwrap().unwrap();
    assert_eq!(
        mock.bodies(&format!("POST {action}")),
        [json!({"ImageURI": url, "TransferProtocol": "HTTP"})]
    );
    let mut outcome = update().progress(&job).await.unwrap();
    assert_eq!(outcome, Outcome::Pending(Some(30)));
    while matches!(outcome, Outcome::Pending(_)) {
        outcome = update().progress(&job).await.unwrap();
    }
    assert_eq!(outcome, Outcome::Done);
    mock.model().knobs.task = Some(json!({"TaskState": "Exception", "Messages": [
        {"MessageId": "Base.1.0.InternalError"}]}));
    let Outcome::Failed(why) = update().progress(&job).await.unwrap() else { panic!() };
    assert!(why.contains("Exception. it failed inside"), "{why}");
    // Many updates restart the BMC, and its tasks are gone.
    mock.instead("GET /redfish/v1/Tasks/1/Monitor", 503, json!({}), 4);
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Pending(None));
    mock.instead("GET /redfish/v1/Tasks/1/Monitor", 404, json!({}), 1);
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Done);
}

#[tokio::test]
async fn firmware_is_pushed_to_bmcs_that_fetch_nothing() {
    let mock = with_update_service(json!({"MultipartHttpPushUri": "/redfish/v1/UpdateService/upload"})).await;
    let server = Mock::start().await;
    server.model().knobs.no_auth = true;
    server.add(json!({"/bios.bin": {"image": "x".repeat(100_000)}}));
    let url = format!("{}/bios.bin", server.address).parse().unwrap();
    assert!(bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap().is_none());
    let sent = mock.model().uploads.remove(0);
    let text = String::from_utf8(sent).unwrap();
    assert!(
        text.contains("name=\"UpdateParameters\"") && text.contains("filename=\"bios.bin\""),
        "{text:.300}"
    );
    assert!(text.contains(&"x".repeat(100_000)) && text.trim_end().ends_with("--"));

    let error = bmc(&mock).firmware_update.unwrap();
    let gone = format!("{}/gone.bin?secret=1", server.address).parse().unwrap();
    let error = error.update("bios", &gone).await.unwrap_err().to_string();
    assert!(error.contains("gone.bin") && error.contains("404") && !error.contains("secret"), "{error}");
    let mock = with_update_service(json!({})).await;
    let error = bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap_err();
    assert!(matches!(error, BmcError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn an_image_comes_from_the_named_place_and_in_time() {
    let mock = with_update_service(json!({"MultipartHttpPushUri": "/redfish/v1/UpdateService/upload"})).await;
    let other = Mock::start().await;
    other.model().knobs.no_auth = true;
    other.add(json!({"/secret": {"image": "internal"}}));
    let to = format!("{}/secret", other.address);
    let router = axum::Router::new()
        .route("/moved", axum::routing::get(|| async move { axum::response::Redirect::temporary(&to) }))
        .route("/silent", axum::routing::get(std::future::pending::<()>));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    for (path, reason) in [("moved", "307"), ("silent", "does not answer")] {
        let url = format!("{server}/{path}").parse().unwrap();
        let error = bmc(&mock).firmware_update.unwrap().update("bios", &url).await.unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
    assert!(mock.model().uploads.is_empty() && other.count("GET /secret") == 0);
}

#[tokio::test]
async fn an_update_of_a_card_is_for_that_card_or_none() {
    let action = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    let mock = with_update_service(json!({"Actions": {"#UpdateService.SimpleUpdate": {"target": action}},
        "FirmwareInventory": link("/redfish/v1/Fw")}))
    .await;
    mock.add(json!({"/redfish/v1/Fw": {"Members": [link("/redfish/v1/Fw/Nic"), link("/redfish/v1/Fw/Old")]},
        "/redfish/v1/Fw/Nic": {"Id": "Nic", "RelatedItem": [link("/redfish/v1/Chassis/1/NetworkAdapters/DE07")]},
        "/redfish/v1/Fw/Old": {"Id": "Old", "Updateable": false}}));
    let update = bmc(&mock).firmware_update.unwrap();
    let url = "http://192.0.2.9/nic.bin".parse().unwrap();
    let post = format!("POST {action}");
    for unknown in ["nic:typo", "nic:Old"] {
        let error = update.update(unknown, &url).await.unwrap_err().to_string();
        assert!(error.contains(unknown) && error.contains("it has Nic"), "{error}");
    }
    let refusal = |argument: &str| {
        json!({"error": {"@Message.ExtendedInfo": [
            {"MessageId": "Base.1.8.ActionParameterUnknown", "MessageArgs": ["SimpleUpdate", argument]}]}})
    };
    mock.instead(&post, 400, refusal("ImageURI"), 1);
    assert!(update.update("nic:DE07", &url).await.is_err());
    assert_eq!(mock.bodies(&post), [json!({"ImageURI": url, "Targets": ["/redfish/v1/Fw/Nic"]})]);
    mock.instead(&post, 400, refusal("Targets"), 1);
    update.update("nic:Nic", &url).await.unwrap();
    assert_eq!(mock.bodies(&post)[2], json!({"ImageURI": url}));
}

#[tokio::test]
async fn an_update_that_runs_is_found_by_its_request() {
    let mock = with_update_service(json!({})).await;
    mock.set("/redfish/v1/", "/Tasks", link("/redfish/v1/TaskService"));
    let task = |target: &str, state: &str| json!({"TaskState": state, "Payload": {"TargetUri": target}});
    let target = "/redfish/v1/UpdateService/Actions/UpdateService.SimpleUpdate";
    mock.add(json!({
        "/redfish/v1/TaskService": {"Tasks": link("/redfish/v1/Tasks")},
        "/redfish/v1/Tasks": {"Members": [link("/redfish/v1/Tasks/1"), link("/redfish/v1/Tasks/2")]},
        "/redfish/v1/Tasks/1": task(target, "Completed"),
        "/redfish/v1/Tasks/2": task("/redfish/v1/Systems/1/Bios", "Running"),
    }));
    let update = || bmc(&mock).firmware_update.unwrap();
    assert_eq!(update().under_way().await.unwrap(), None);
    mock.add(json!({"/redfish/v1/Tasks/2": task(target, "Running")}));
    let job = update().under_way().await.unwrap().unwrap();
    assert_eq!(update().progress(&job).await.unwrap(), Outcome::Pending(None));
}
