//! What an iLO 4 says by RIBCL, after the examples in HPE's guide and recordings of real ones.

use std::fmt::Write as _;

pub(super) const LOGIN_FAILED: &str = "<RESPONSE\n STATUS=\"0x005F\"\n MESSAGE='Login failed.'\n />";
const OK: &str = "<RESPONSE\n STATUS=\"0x0000\"\n MESSAGE='No error'\n />";

/// A command as it came.
pub(super) struct Asked {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) name: String,
    text: String,
}

impl Asked {
    pub(super) fn of(text: &str) -> Self {
        assert!(text.starts_with("<RIBCL VERSION=\"2.0\">\r\n") && text.ends_with("</RIBCL>\r\n"), "{text}");
        let mut names = text.split('<').skip(4);
        let name = names.next().unwrap().split([' ', '/', '>']).next().unwrap().to_owned();
        let mut asked = Self { user: String::new(), password: String::new(), name, text: text.to_owned() };
        asked.user = asked.attribute("USER_LOGIN").unwrap();
        asked.password = asked.attribute("PASSWORD").unwrap();
        asked
    }

    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let value = self.text.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
        Some(plain(value))
    }

    /// The values of all children of that name.
    fn children(&self, name: &str) -> Vec<String> {
        let start = format!("<{name} VALUE=\"");
        let parts = self.text.split(&start).skip(1);
        parts.map(|part| plain(part.split('"').next().unwrap())).collect()
    }

    pub(super) fn new_password(&self) -> Option<String> {
        (self.name == "MOD_USER").then(|| self.children("PASSWORD").remove(0))
    }
}

fn plain(escaped: &str) -> String {
    escaped.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// Documents one after the other, as iLOs send them.
pub(super) fn documents(bodies: &[&str]) -> String {
    let mut all = String::new();
    for body in bodies {
        write!(all, "<?xml version=\"1.0\"?>\r\n<RIBCL VERSION=\"2.23\">\r\n{body}\r\n</RIBCL>\r\n").unwrap();
    }
    all
}

#[derive(Clone, Default)]
pub(super) struct Drive {
    pub(super) image: Option<String>,
    pub(super) option: String,
    pub(super) protected: String,
}

/// The machine behind it.
pub(super) struct Machine {
    pub(super) on: bool,
    pub(super) product: String,
    pub(super) one_time: String,
    /// Values with descriptions.
    pub(super) order: Vec<(String, Option<String>)>,
    /// Current, pending, supported; `None`: the firmware does not know the question.
    pub(super) modes: Option<[String; 3]>,
    pub(super) cd: Drive,
    pub(super) floppy: Drive,
    pub(super) licences: Vec<String>,
    pub(super) health: String,
    /// The machine takes so many looks until it does what it was told.
    pub(super) slow: u32,
    wanted: bool,
    /// Insertions are accepted and nothing happens.
    pub(super) insert_lies: bool,
}

impl Default for Machine {
    fn default() -> Self {
        let named = |name: &str| (name.to_owned(), None);
        Self {
            on: false,
            product: "ProLiant DL380p Gen8".to_owned(),
            one_time: "Normal".to_owned(),
            order: vec![named("CDROM"), named("NETWORK"), named("HDD")],
            modes: None,
            cd: Drive::default(),
            floppy: Drive::default(),
            licences: vec!["iLO 4 Advanced".to_owned()],
            health: HEALTH.to_owned(),
            slow: 0,
            wanted: false,
            insert_lies: false,
        }
    }
}

impl Machine {
    pub(super) fn run(&mut self, asked: &Asked) -> String {
        let data = match self.answer(asked) {
            Ok(data) => data,
            Err((status, message)) => {
                let refused = format!("<RESPONSE STATUS=\"{status}\" MESSAGE='{message}'/>");
                return documents(&[OK, &refused, OK]);
            }
        };
        documents(&[OK, OK, &format!("{OK}{data}"), OK])
    }

    fn answer(&mut self, asked: &Asked) -> Result<String, (&'static str, String)> {
        let value =
            |name: &str, child: &str, value: &str| format!("<{name}><{child} VALUE=\"{value}\"/></{name}>");
        let mode = |machine: &Self, at: usize| match &machine.modes {
            Some(modes) => Ok(modes[at].clone()),
            None => Err(("0x0001", format!("Syntax error: Line #3: syntax error near \"{}\"", asked.name))),
        };
        Ok(match asked.name.as_str() {
            "GET_PRODUCT_NAME" => value("GET_PRODUCT_NAME", "PRODUCT_NAME", &self.product),
            "GET_HOST_POWER_STATUS" => {
                self.step();
                format!("<GET_HOST_POWER HOST_POWER=\"{}\"/>", if self.on { "ON" } else { "OFF" })
            }
            "SET_HOST_POWER" => self.power(asked.attribute("HOST_POWER").unwrap() == "Yes"),
            "HOLD_PWR_BTN" | "PRESS_PWR_BTN" => self.power(false),
            "RESET_SERVER" | "RESET_RIB" | "MOD_USER" => String::new(),
            "GET_ONE_TIME_BOOT" => value("ONE_TIME_BOOT", "BOOT_TYPE", &self.one_time),
            "SET_ONE_TIME_BOOT" => {
                self.one_time = asked.attribute("value").unwrap();
                String::new()
            }
            "GET_PERSISTENT_BOOT" => {
                let device = |(value, description): &(String, Option<String>)| match description {
                    Some(description) => format!("<DEVICE value=\"{value}\" DESCRIPTION=\"{description}\"/>"),
                    None => format!("<DEVICE value=\"{value}\"/>"),
                };
                let devices: String = self.order.iter().map(device).collect();
                format!("<PERSISTENT_BOOT>{devices}</PERSISTENT_BOOT>")
            }
            "SET_PERSISTENT_BOOT" => {
                let wanted = asked.children("DEVICE");
                self.order.sort_by_key(|(value, _)| wanted.iter().position(|w| w == value));
                String::new()
            }
            "GET_CURRENT_BOOT_MODE" => value("GET_CURRENT_BOOT_MODE", "BOOT_MODE", &mode(self, 0)?),
            "GET_PENDING_BOOT_MODE" => value("GET_PENDING_BOOT_MODE", "BOOT_MODE", &mode(self, 1)?),
            "GET_SUPPORTED_BOOT_MODE" => {
                value("GET_SUPPORTED_BOOT_MODE", "SUPPORTED_BOOT_MODE", &mode(self, 2)?)
            }
            "SET_PENDING_BOOT_MODE" => {
                self.modes.as_mut().unwrap()[1] = asked.attribute("value").unwrap();
                String::new()
            }
            "GET_ALL_LICENSES" => {
                let licence = |name: &String| {
                    format!("<LICENSE><LICENSE_TYPE VALUE=\"{name}\"/><LICENSE_KEY VALUE=\"X\"/></LICENSE>")
                };
                format!(
                    "<GET_ALL_LICENSES>{}</GET_ALL_LICENSES>",
                    self.licences.iter().map(licence).collect::<String>()
                )
            }
            "GET_EMBEDDED_HEALTH" => self.health.clone(),
            "GET_POWER_READINGS" => value("GET_POWER_READINGS", "PRESENT_POWER_READING", "97"),
            "GET_VM_STATUS" => self.status(asked),
            "INSERT_VIRTUAL_MEDIA" | "EJECT_VIRTUAL_MEDIA" | "SET_VM_STATUS" => return self.media(asked),
            other => return Err(("0x0001", format!("Syntax error: {other}"))),
        })
    }

    fn power(&mut self, on: bool) -> String {
        self.wanted = on;
        if self.slow == 0 {
            self.on = on;
        }
        String::new()
    }

    fn step(&mut self) {
        if self.on != self.wanted && self.slow > 0 {
            self.slow -= 1;
            if self.slow == 0 {
                self.on = self.wanted;
            }
        }
    }

    fn drive(&mut self, asked: &Asked) -> &mut Drive {
        match asked.attribute("DEVICE").unwrap().as_str() {
            "CDROM" => &mut self.cd,
            "FLOPPY" => &mut self.floppy,
            other => panic!("no drive {other}"),
        }
    }

    fn status(&mut self, asked: &Asked) -> String {
        let device = asked.attribute("DEVICE").unwrap();
        let drive = self.drive(asked).clone();
        let inserted = if drive.image.is_some() { "YES" } else { "NO" };
        let option = if drive.option.is_empty() { "NO_BOOT" } else { &drive.option };
        format!(
            "<GET_VM_STATUS VM_APPLET=\"DISCONNECTED\" DEVICE=\"{device}\" BOOT_OPTION=\"{option}\" \
             WRITE_PROTECT=\"NO\" IMAGE_INSERTED=\"{inserted}\" IMAGE_URL=\"{}\"/>",
            drive.image.unwrap_or_default().replace('&', "&amp;")
        )
    }

    fn media(&mut self, asked: &Asked) -> Result<String, (&'static str, String)> {
        if !self.licences.iter().any(|name| name.contains("Advanced")) {
            return Err(("0x003E", "This feature requires an installed license key.".to_owned()));
        }
        let lies = self.insert_lies;
        let drive = self.drive(asked);
        match asked.name.as_str() {
            "INSERT_VIRTUAL_MEDIA" if drive.image.is_some() => {
                return Err(("0x0059", "An image is already inserted.".to_owned()));
            }
            "INSERT_VIRTUAL_MEDIA" if lies => {}
            "INSERT_VIRTUAL_MEDIA" => drive.image = asked.attribute("IMAGE_URL"),
            "EJECT_VIRTUAL_MEDIA" if drive.image.is_none() => {
                return Err(("0x0058", "There is no image present in the Virtual Media drive.".to_owned()));
            }
            "EJECT_VIRTUAL_MEDIA" => *drive = Drive::default(),
            _ => {
                drive.option = asked.children("VM_BOOT_OPTION").remove(0);
                drive.protected = asked.children("VM_WRITE_PROTECT").remove(0);
            }
        }
        Ok(String::new())
    }
}

const HEALTH: &str = r#"<GET_EMBEDDED_HEALTH_DATA>
 <FANS><FAN><ZONE VALUE = "System"/><LABEL VALUE = "Fan 1"/><STATUS VALUE = "OK"/><SPEED VALUE = "27" UNIT="Percentage"/></FAN>
  <FAN><ZONE VALUE = "System"/><LABEL VALUE = "Fan 2"/><STATUS VALUE = "Not Installed"/><SPEED VALUE = "0" UNIT="Percentage"/></FAN></FANS>
 <TEMPERATURE>
  <TEMP><LABEL VALUE = "01-Inlet Ambient"/><LOCATION VALUE = "Ambient"/><STATUS VALUE = "OK"/>
   <CURRENTREADING VALUE = "21" UNIT="Celsius"/><CAUTION VALUE = "42" UNIT="Celsius"/><CRITICAL VALUE = "N/A"/></TEMP>
  <TEMP><LABEL VALUE = "20-GPU 1"/><LOCATION VALUE = "I/O Board"/><STATUS VALUE = "Not Installed"/>
   <CURRENTREADING VALUE = "N/A"/><CAUTION VALUE = "N/A"/><CRITICAL VALUE = "N/A"/></TEMP>
 </TEMPERATURE>
 <POWER_SUPPLIES><POWER_SUPPLY_SUMMARY><PRESENT_POWER_READING VALUE = "97 Watts"/></POWER_SUPPLY_SUMMARY>
  <SUPPLY><LABEL VALUE = "Power Supply 1"/><PRESENT VALUE = "Yes"/><STATUS VALUE = "Good, In Use"/></SUPPLY></POWER_SUPPLIES>
 <PROCESSORS>
  <PROCESSOR><LABEL VALUE = "Proc 1"/><NAME VALUE = " Intel(R) Xeon(R) CPU E5-2609 0 @ 2.40GHz      "/>
   <STATUS VALUE = "OK"/><SPEED VALUE = "2400 MHz"/><EXECUTION_TECHNOLOGY VALUE = "4/4 cores; 8 threads"/></PROCESSOR>
  <PROCESSOR><LABEL VALUE = "Proc 2"/><NAME VALUE = "N/A"/><EXECUTION_TECHNOLOGY VALUE = "4 of 4 cores; 8 threads"/></PROCESSOR>
 </PROCESSORS>
 <MEMORY><ADVANCED_MEMORY_PROTECTION/><MEMORY_DETAILS_SUMMARY>
  <CPU_1><NUMBER_OF_SOCKETS VALUE = "12"/><TOTAL_MEMORY_SIZE VALUE = "16 GB"/></CPU_1>
  <CPU_2><NUMBER_OF_SOCKETS VALUE = "12"/><TOTAL_MEMORY_SIZE VALUE = "N/A"/></CPU_2></MEMORY_DETAILS_SUMMARY></MEMORY>
 <NIC_INFORMATION>
  <iLO><NETWORK_PORT VALUE = "iLO Dedicated Network Port"/><LOCATION VALUE = "Embedded"/><MAC_ADDRESS VALUE = "9c:8e:99:00:00:01"/></iLO>
  <NIC><NETWORK_PORT VALUE = "Port 1"/><PORT_DESCRIPTION VALUE = "iLO 4"/><LOCATION VALUE = "Embedded"/><MAC_ADDRESS VALUE = "9C:8E:99:00:00:02"/></NIC>
  <NIC><NETWORK_PORT VALUE = "Port 2"/><LOCATION VALUE = "Embedded"/><MAC_ADDRESS VALUE = "9c-8e-99-00-00-03"/></NIC>
  <NIC><NETWORK_PORT VALUE = "Port 1"/><LOCATION VALUE = "PCI Slot"/><MAC_ADDRESS VALUE = "9c:8e:99:00:00:04"/></NIC>
 </NIC_INFORMATION>
 <STORAGE><CONTROLLER><LABEL VALUE = "Controller on System Board"/><STATUS VALUE = "OK"/>
  <LOGICAL_DRIVE><LABEL VALUE = "01"/><STATUS VALUE = "OK"/><CAPACITY VALUE = "931 GB"/><FAULT_TOLERANCE VALUE = "RAID 1"/></LOGICAL_DRIVE>
  <LOGICAL_DRIVE><LABEL VALUE = "02"/><STATUS VALUE = "OK"/><CAPACITY VALUE = "99 GB"/></LOGICAL_DRIVE></CONTROLLER></STORAGE>
 <FIRMWARE_INFORMATION>
  <INDEX_1><FIRMWARE_NAME VALUE = "HP ProLiant System ROM"/><FIRMWARE_VERSION VALUE = "08/20/2012"/></INDEX_1>
  <INDEX_2><FIRMWARE_NAME VALUE = "HP ProLiant System ROM Bootblock"/><FIRMWARE_VERSION VALUE = "03/05/2012"/></INDEX_2>
  <INDEX_3><FIRMWARE_NAME VALUE = "iLO"/><FIRMWARE_VERSION VALUE = "2.10 Jan 15 2015"/></INDEX_3>
 </FIRMWARE_INFORMATION>
 <HEALTH_AT_A_GLANCE><BIOS_HARDWARE STATUS= "OK"/><FANS STATUS= "OK"/><FANS REDUNDANCY= "Redundant"/><STORAGE STATUS= "Degraded"/></HEALTH_AT_A_GLANCE>
</GET_EMBEDDED_HEALTH_DATA>"#;
