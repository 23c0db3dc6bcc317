//! The BMC itself: restart, clock, password; and where its consoles are.

use async_trait::async_trait;
use bessemer_proto::secret::Secret;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{Machine, document::Document};
use crate::bmc::{BmcError, Changed, Manager, restart::Restart};

const RESET: &str = "Manager.Reset";
/// DSP0268, Manager 1.9.
const LAST_RESET: &str = "/LastResetTime";
/// A clock that is off by less is right.
const EXACT_SECONDS: i64 = 1;

#[async_trait]
impl Manager for Machine {
    async fn reset(&self) -> Result<(), BmcError> {
        let manager = self.manager("restart itself").await?;
        let link = manager
            .action_target(RESET)
            .ok_or_else(|| self.client.unsupported("restart itself: its manager has no Reset action"))?;
        let allowed = self.allowed(&manager, RESET, "ResetType").await?;
        let word = match &allowed {
            Some(words) if !words.iter().any(|word| word == "GracefulRestart") => "ForceRestart",
            _ => "GracefulRestart",
        };
        match self.client.post(link, &json!({"ResetType": word})).await {
            // Some are gone before they have answered.
            Err(BmcError::Unreachable { .. } | BmcError::Timeout { .. }) => {}
            result => result??,
        }
        self.wait_for_restart(&manager).await
    }

    async fn clock(&self) -> Result<Option<DateTime<Utc>>, BmcError> {
        Ok(clock_of(&self.manager("tell the time").await?))
    }

    async fn set_clock(&self, now: DateTime<Utc>) -> Result<Changed, BmcError> {
        let manager = self.manager("set its clock").await?;
        if clock_of(&manager).is_some_and(|clock| (clock - now).num_seconds().abs() <= EXACT_SECONDS) {
            return Ok(Changed::Already);
        }
        let text = now.to_rfc3339_opts(SecondsFormat::Secs, false);
        let mut body = json!({"DateTime": text});
        if manager.text("/DateTimeLocalOffset").is_some_and(|offset| offset != "+00:00") {
            body["DateTimeLocalOffset"] = json!("+00:00");
        }
        self.client.patch(&manager.path, &body).await??;
        Ok(Changed::Yes)
    }

    async fn change_password(&self, new: &Secret) -> Result<Changed, BmcError> {
        let Some(who) = &self.client.settings.credentials else {
            return Err(BmcError::DriverInfo(
                "whose password? Set redfish_username and redfish_password".to_owned(),
            ));
        };
        if who.password == *new {
            return Ok(Changed::Already);
        }
        let account = self.account_of(&who.user).await?;
        let body = json!({"Password": new.reveal()});
        match self.client.patch(&account.path, &body).await {
            Ok(Ok(())) => Ok(Changed::Yes),
            Ok(Err(refusal)) => Err(BmcError::from(refusal).hidden(new)),
            Err(error) => Err(error.hidden(new)),
        }
    }
}

fn clock_of(manager: &Document) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(manager.text("/DateTime")?).ok()?;
    Some(time.with_timezone(&Utc))
}

impl Machine {
    /// The manager of the machine.
    pub(super) async fn manager(&self, what: &str) -> Result<Document, BmcError> {
        let managers = self.managers(&self.system().await?).await?;
        let is_bmc = |manager: &Document| manager.text("/ManagerType") == Some("BMC");
        let place = managers.iter().position(is_bmc).unwrap_or_default();
        let found = managers.into_iter().nth(place);
        found.ok_or_else(|| self.client.unsupported(format!("{what}: it shows no manager")))
    }

    /// What a parameter of an action may be; `None` when the BMC does not say.
    pub(super) async fn allowed(
        &self,
        document: &Document,
        action: &str,
        parameter: &str,
    ) -> Result<Option<Vec<String>>, BmcError> {
        let listed = |values: Option<&Value>| {
            let words = values?.as_array()?.iter().filter_map(Value::as_str).take(32).map(str::to_owned);
            Some(words.collect::<Vec<_>>()).filter(|words| !words.is_empty())
        };
        let action = document.action(action);
        let annotation = format!("{parameter}@Redfish.AllowableValues");
        if let Some(words) = listed(action.and_then(|action| action.get(&annotation))) {
            return Ok(Some(words));
        }
        let Some(info) = action.and_then(|a| a.get("@Redfish.ActionInfo")?.as_str()) else { return Ok(None) };
        let Some(info) = self.client.find(info).await? else { return Ok(None) };
        let found =
            info.items("/Parameters").find(|p| p.get("Name").and_then(Value::as_str) == Some(parameter));
        Ok(listed(found.and_then(|parameter| parameter.get("AllowableValues"))))
    }

    async fn account_of(&self, user: &str) -> Result<Document, BmcError> {
        let service = match self.client.root().await?.link("/AccountService") {
            Some(link) => self.client.find(link).await?,
            None => None,
        };
        let accounts = match service.as_ref().and_then(|service| service.link("/Accounts")) {
            Some(link) => self.client.documents(link).await?,
            None => Vec::new(),
        };
        let found = accounts.into_iter().find(|account| account.text("/UserName") == Some(user));
        found.ok_or_else(|| {
            self.client.unsupported(format!("change the password of {user}: it shows no such account"))
        })
    }

    async fn wait_for_restart(&self, manager: &Document) -> Result<(), BmcError> {
        let pace = self.client.transport.pace;
        let restart = Restart {
            address: &self.client.transport.address,
            pause: pace.poll_max,
            begins: pace.restart_begins,
            within: pace.restart,
        };
        let look = || async { Ok(self.client.get(&manager.path).await?.shown(LAST_RESET)) };
        restart.awaited(manager.shown(LAST_RESET), look).await
    }
}
