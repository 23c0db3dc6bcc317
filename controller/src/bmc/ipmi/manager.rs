//! The BMC itself: restart, clock, password, raw commands (IPMI 2.0, sections 20.2, 22.28 to 22.30, 31.10, 31.11).

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::{
    Client, Machine,
    command::{
        COLD_RESET, Command, GET_DEVICE_ID, GET_SEL_TIME, GET_USER_NAME, SET_SEL_TIME, SET_USER_PASSWORD,
    },
    log::time,
    settings::Settings,
};
use crate::bmc::{BmcError, Changed, Manager, Raw};

/// User ids have six bits.
const LAST_USER: u8 = 63;
const LONG_PASSWORD: u8 = 0x80;
const SET: u8 = 2;
const TEST: u8 = 3;
const WRONG_PASSWORD: [u8; 2] = [0x80, 0x81];
/// Seconds that a clock may be wrong without being set.
const EXACT: u64 = 1;
/// Requests and answers of one packet.
const MAX_RAW: usize = 200;

#[async_trait]
impl Manager for Machine {
    async fn reset(&self) -> Result<(), BmcError> {
        self.client.command(&GET_DEVICE_ID, &[]).await?;
        // Some BMCs are gone before they have answered.
        match self.client.command(&COLD_RESET, &[]).await {
            Ok(_) | Err(BmcError::Timeout { .. } | BmcError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        self.goes_down().await?;
        let until = Instant::now() + self.client.pace.start;
        loop {
            match self.client.command(&GET_DEVICE_ID, &[]).await {
                Ok(_) => return Ok(()),
                Err(error @ (BmcError::DriverInfo(_) | BmcError::Credentials { .. })) => return Err(error),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(self.client.pace.poll * 5).await;
        }
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        let seconds: [u8; 4] = self.client.ask(&GET_SEL_TIME, &[]).await?;
        Ok(time(u32::from_le_bytes(seconds)))
    }

    async fn set_clock(&self, now: DateTime<Utc>) -> Result<Changed, BmcError> {
        let wrong = self.clock().await?.map(|clock| clock.timestamp().abs_diff(now.timestamp()));
        if wrong.is_some_and(|wrong| wrong <= EXACT) {
            return Ok(Changed::Already);
        }
        let seconds = u32::try_from(now.timestamp())
            .map_err(|_| self.client.unsupported(format!("have its clock set to {now}")))?;
        self.client.command(&SET_SEL_TIME, &seconds.to_le_bytes()).await?;
        Ok(Changed::Yes)
    }

    async fn change_password(&self, password: &Secret) -> Result<Changed, BmcError> {
        let new = Settings::password(password)?;
        let user = user_id(&self.client).await?;
        let request = |what| {
            let mut request = vec![user | LONG_PASSWORD, what];
            request.extend(new);
            request
        };
        let (code, _) = self.client.exchange(&SET_USER_PASSWORD, &request(TEST)).await?;
        if code == 0 {
            self.client.password_is(password.clone());
            return Ok(Changed::Already);
        }
        if !WRONG_PASSWORD.contains(&code) {
            tracing::debug!(bmc = self.client.address, code, "the BMC does not test passwords");
        }
        self.client.command(&SET_USER_PASSWORD, &request(SET)).await?;
        self.client.password_is(password.clone());
        Ok(Changed::Yes)
    }
}

impl Machine {
    /// Until the session in which the BMC was restarted is no more. BMCs go on answering for a while.
    async fn goes_down(&self) -> Result<(), BmcError> {
        let client = &self.client;
        let Some(mut session) = client.session.lock().await.take() else { return Ok(()) };
        let until = Instant::now() + client.pace.down;
        while client
            .queue
            .run(GET_DEVICE_ID.name, client.pace.command, session.exchange(&GET_DEVICE_ID, &[]))
            .await
            .is_ok()
        {
            if Instant::now() >= until {
                let seconds = client.pace.down.as_secs();
                return Err(client.malformed(
                    &COLD_RESET,
                    &format!("it accepts it, and goes on answering for {seconds} s as if nothing were"),
                ));
            }
            tokio::time::sleep(client.pace.poll).await;
        }
        Ok(())
    }
}

/// The id of the user of the session.
async fn user_id(client: &Client) -> Result<u8, BmcError> {
    for user in 1..=LAST_USER {
        let (code, name) = client.exchange(&GET_USER_NAME, &[user]).await?;
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        if code == 0 && name[..length] == *client.settings.user.as_bytes() {
            return Ok(user);
        }
        // Ids end somewhere; those that are not used are errors for some BMCs.
        if code != 0 && code != 0xcc {
            break;
        }
    }
    Err(client.unsupported("change the password: it does not list the user of ipmi_username"))
}

#[async_trait]
impl Raw for Machine {
    async fn send(&self, request: &[u8]) -> Result<Vec<u8>, BmcError> {
        let (net_fn, code, data) = match request {
            // Odd ones are answers.
            [net_fn @ 0..=0x3e, code, data @ ..] if net_fn % 2 == 0 && data.len() <= MAX_RAW => {
                (*net_fn, *code, data)
            }
            _ => {
                return Err(BmcError::DriverInfo(format!(
                    "a raw command is an even network function below 0x40, a command and at most {MAX_RAW} bytes"
                )));
            }
        };
        self.client.command(&Command { net_fn, lun: 0, code, name: "a raw command", once: true }, data).await
    }
}
