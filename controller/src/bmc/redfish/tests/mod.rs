//! Against a BMC in the same process, over HTTP.

mod access;
mod behaviour;
mod firmware;
mod inside;
mod long;
mod mock;
mod parts;
mod ssh;
mod sshd;
mod storage;
mod vendors;
mod virtual_media;

use serde_json::{Value, json};

use super::*;
use mock::Mock;

/// Everything a hundred times faster.
fn fast() -> Pace {
    let ms = Duration::from_millis;
    Pace {
        connect: ms(1000),
        request: ms(1000),
        retry: ms(5),
        retry_until: ms(1000),
        conflict: ms(5),
        media: ms(5),
        poll: ms(5),
        poll_max: ms(20),
        task: ms(400),
        operation: Duration::from_secs(10),
        restart: ms(2000),
        restart_begins: ms(100),
    }
}

fn info(mock: &Mock, more: Value) -> Dictionary {
    let mut info = json!({
        "redfish_address": mock.address, "redfish_username": "root", "redfish_password": "secret",
    });
    info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    info.as_object().unwrap().clone()
}

fn bmc(mock: &Mock) -> Bmc {
    bmc_with(mock, json!({}))
}

fn bmc_with(mock: &Mock, more: Value) -> Bmc {
    open_with(&info(mock, more), fast()).unwrap()
}
