//! The BMC before a judge that nobody here wrote: DMTF's validator compares every property with the schemas.

use bessemer_tests::{
    counterparts::redfish_validator,
    lab::{Firmware, Lab, MachineDefinition, MediaLocation, SecondMedium, image_server::ImageServer},
};
use reqwest::Method;
use serde_json::json;

use crate::redfish::Redfish;

async fn validate(definition: MachineDefinition) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.img"), vec![0; 1_474_560]).unwrap();
    let images = ImageServer::start(folder.path(), ([127, 0, 0, 1], 0).into()).await.unwrap();
    let below =
        if definition.bmc.profile.media.location == MediaLocation::System { "Systems" } else { "Managers" };
    let lab = Lab::start(folder.path(), vec![definition]).await.unwrap();
    let machine = &lab.machines()[0];
    let insert = format!("/redfish/v1/{below}/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia");
    let image = json!({ "Image": images.url("a.img") });
    Redfish::new(machine).done(Method::POST, &insert, image).await;
    let (url, account) = (machine.bmc_url().as_str().trim_end_matches('/'), machine.credentials());
    let password = account.password.reveal();
    let report = redfish_validator::validate(url, &account.user, password, folder.path()).await.unwrap();
    // Media below the manager are what older BMCs have; the schemas of today call that deprecated, and no more.
    let old_place = |complaint: &str| complaint.contains("Managers/1") && complaint.contains("Deprecated");
    let other: Vec<_> = report.complaints.iter().filter(|complaint| !old_place(complaint)).collect();
    assert_eq!((report.failed, other), (0, Vec::new()));
    assert_eq!(report.warned > 0, below == "Managers");
    assert!(report.passed > 200, "it looked at {} properties only", report.passed);
}

#[tokio::test]
async fn a_uefi_machine_with_a_floppy_conforms() {
    validate(MachineDefinition::new("m", Firmware::OvmfSecureBoot)).await;
}

#[tokio::test]
async fn a_bios_machine_with_media_below_the_manager_conforms() {
    let mut machine = MachineDefinition::new("m", Firmware::SeaBios);
    machine.second_medium = Some(SecondMedium::UsbStick);
    machine.bmc.profile.media.location = MediaLocation::Both;
    validate(machine).await;
}
