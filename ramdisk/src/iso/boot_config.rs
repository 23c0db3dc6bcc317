//! What the boot loaders tell the kernel.

use super::{INITRAMFS, KERNEL};

/// A kernel that does not know the agent's last words would wait for ever; after this many seconds it resets.
const ALWAYS: &str = "panic=60 quiet";
/// The kernel reads 2047 bytes.
const LONGEST: usize = 2000;

/// How the kernel is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootConfig {
    consoles: Vec<String>,
    append: String,
}

/// Kernel arguments that cannot be passed on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// A character that boot loaders treat in a special way.
    #[error("kernel arguments may not contain {0:?}: boot loaders would change it")]
    Character(char),
    /// A console with a space in it.
    #[error("\"{0}\" is not a console like ttyS0,115200")]
    Console(String),
    /// More than the kernel reads.
    #[error("the kernel arguments have {0} characters, at most {LONGEST} fit")]
    TooLong(usize),
}

impl BootConfig {
    /// Serial consoles like `ttyS0,115200` (the last one is the agent's), and further kernel arguments.
    pub fn new(consoles: &[String], append: &str) -> Result<Self, ArgumentError> {
        let special = |c: &char| !(c.is_ascii_graphic() || *c == ' ') || matches!(c, '\'' | '"' | '\\');
        for console in consoles {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == ',';
            if console.is_empty() || !console.chars().all(plain) {
                return Err(ArgumentError::Console(console.clone()));
            }
        }
        if let Some(character) = append.chars().find(special) {
            return Err(ArgumentError::Character(character));
        }
        let config = Self { consoles: consoles.to_vec(), append: append.to_owned() };
        match config.arguments().len() {
            length if length > LONGEST => Err(ArgumentError::TooLong(length)),
            _ => Ok(config),
        }
    }

    /// All arguments, in one line. Later ones win, so an operator's come last.
    #[must_use]
    pub fn arguments(&self) -> String {
        let mut words = vec!["console=tty0".to_owned()];
        words.extend(self.consoles.iter().map(|console| format!("console={console}")));
        words.push(ALWAYS.to_owned());
        words.extend(self.append.split_whitespace().map(str::to_owned));
        words.join(" ")
    }

    /// Configuration of GRUB. `marker` is a file that only this ISO has; a machine with many disks takes long to
    /// search, so what GRUB was started from comes first.
    pub(super) fn grub(&self, marker: &str) -> String {
        let quoted: Vec<String> = self.arguments().split(' ').map(|word| format!("'{word}'")).collect();
        format!(
            "if [ ! -f {marker} ]; then search --no-floppy --file --set=root {marker} ; fi\n\
             if linux {KERNEL} {} ; then\n  if initrd {INITRAMFS} ; then boot ; fi\nfi\n\
             echo 'The deploy ramdisk could not be started.'\n",
            quoted.join(" ")
        )
    }

    /// Configuration of ISOLINUX.
    pub(super) fn isolinux(&self) -> String {
        let serial = self.serial().map(|(port, baud)| format!("SERIAL {port} {baud}\n")).unwrap_or_default();
        format!(
            "{serial}DEFAULT deploy\nPROMPT 0\nTIMEOUT 0\nLABEL deploy\n  KERNEL {KERNEL}\n  \
             INITRD {INITRAMFS}\n  APPEND {}\n",
            self.arguments()
        )
    }

    /// The port and speed of the first serial console.
    fn serial(&self) -> Option<(u8, u32)> {
        self.consoles.iter().find_map(|console| {
            let (port, options) = console.strip_prefix("ttyS")?.split_once(',').unwrap_or((console, ""));
            let port = port.trim_start_matches("ttyS").parse().ok().filter(|port| *port < 4)?;
            let digits: String = options.chars().take_while(char::is_ascii_digit).collect();
            Some((port, digits.parse().unwrap_or(9600)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(consoles: &[&str], append: &str) -> Result<BootConfig, ArgumentError> {
        BootConfig::new(&consoles.iter().map(ToString::to_string).collect::<Vec<_>>(), append)
    }

    #[test]
    fn consoles_come_first_and_the_operators_arguments_last() {
        let config = config(&["ttyS1,57600n8", "ttyS0"], " a=b   bessemer-debug=true; ").unwrap();
        let line = "console=tty0 console=ttyS1,57600n8 console=ttyS0 panic=60 quiet a=b bessemer-debug=true;";
        assert_eq!(config.arguments(), line);
        assert!(config.isolinux().starts_with("SERIAL 1 57600\n"));
        assert!(config.isolinux().contains(&format!("APPEND {line}\n")));
        let grub = config.grub("/bessemer/build-1");
        assert!(grub.contains("'a=b' 'bessemer-debug=true;' ;"), "{grub}");
        assert!(grub.contains("--set=root /bessemer/build-1 ;"));
    }

    #[test]
    fn a_machine_may_have_no_serial_console() {
        let text = config(&["tty1"], "").unwrap().isolinux();
        assert!(text.starts_with("DEFAULT"), "{text}");
        assert_eq!(config(&["ttyS0"], "").unwrap().serial(), Some((0, 9600)));
        assert_eq!(config(&["ttyS9,115200"], "").unwrap().serial(), None);
    }

    #[test]
    fn what_a_boot_loader_would_change_is_refused() {
        assert_eq!(config(&[], "a='b'"), Err(ArgumentError::Character('\'')));
        assert_eq!(config(&[], "a\nLABEL x"), Err(ArgumentError::Character('\n')));
        assert!(matches!(config(&["ttyS0 x"], ""), Err(ArgumentError::Console(_))));
        assert!(matches!(config(&[], &"x".repeat(2000)), Err(ArgumentError::TooLong(_))));
    }
}
