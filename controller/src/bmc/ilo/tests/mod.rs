//! Against an iLO in the same process, over HTTPS.

mod hpe;
mod ribcl;
mod ribcl_model;
mod ris;
mod server;

use serde_json::{Value, json};

use super::*;
use server::Ilo as Server;

/// Everything a hundred times faster.
fn fast() -> Pace {
    let ms = Duration::from_millis;
    Pace {
        connect: ms(2000),
        request: ms(2000),
        poll: ms(5),
        poll_max: ms(20),
        longest: ms(20),
        begins: ms(100),
        away: ms(2000),
        post: ms(500),
        blade: ms(5),
    }
}

fn bmc(server: &Server) -> Bmc {
    bmc_with(server, json!({}))
}

fn bmc_with(server: &Server, more: Value) -> Bmc {
    let mut info = json!({
        "ilo_address": "127.0.0.1", "client_port": server.port, "ilo_verify_ca": false, "client_timeout": 2,
        "ilo_username": "Administrator", "ilo_password": "secret",
    });
    info.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    open_with(info.as_object().unwrap(), fast()).unwrap()
}
