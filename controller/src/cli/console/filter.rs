//! What a machine's console may do to the operator's terminal: text, colours, moving the cursor. The bytes are read as a
//! terminal reads them, and only what is listed here is written again: no strings of commands to the terminal itself
//! (titles, clipboard), nothing that it answers as if somebody typed, no windows, printers or mice.

use std::io::Write as _;

use vte::{Params, Parser, Perform};

const ESC: u8 = 0x1b;
/// A sequence that shows nothing for so many bytes is noise, such as of a line whose speed changes: it ends there.
const MAX_SILENT: usize = 4096;

/// Final bytes of control sequences without a private mark: editing and erasing, cursor, colours, tabs, scrolling.
const CONTROLS: &[u8] = b"@ABCDEFGHIJKLMPSXZ`abdefgmr";
/// Those that have another meaning with parameters.
const PLAIN_ONLY: &[u8] = b"su";
/// Modes of the terminal: insert, newline.
const MODES: &[u16] = &[4, 20];
/// Private modes: cursor keys, reverse, origin, wrap, blinking and visible cursor, alternate screen.
const PRIVATE_MODES: &[u16] = &[1, 5, 6, 7, 12, 25, 47, 1047, 1048, 1049];
/// After ESC: save and restore the cursor, line feeds and tabs, keypad, reset.
const ESCAPES: &[u8] = b"78DEHMc=>";
/// After ESC and which set: the character sets that draw lines, and those that do not.
const SETS: &[u8] = b"AB0";

/// Lets through what is allowed, however it is cut.
#[derive(Default)]
pub(super) struct Filter {
    parser: Parser,
    shown: Shown,
    /// Bytes since the parser said anything.
    silent: usize,
}

#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    /// Whether the parser said anything.
    spoke: bool,
}

impl Filter {
    /// What of it may be shown.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            self.shown.spoke = false;
            self.parser.advance(&mut self.shown, std::slice::from_ref(byte));
            self.silent = if self.shown.spoke { 0 } else { self.silent + 1 };
            if self.silent >= MAX_SILENT {
                self.parser = Parser::new();
                self.silent = 0;
            }
        }
        std::mem::take(&mut self.shown.bytes)
    }
}

impl Perform for Shown {
    fn print(&mut self, c: char) {
        self.spoke = true;
        if !c.is_control() {
            self.bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        }
    }

    fn execute(&mut self, byte: u8) {
        self.spoke = true;
        // Bell, backspace, tabs, line ends, character sets.
        if matches!(byte, 0x07..=0x0f) {
            self.bytes.push(byte);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        self.spoke = true;
        let Ok(action) = u8::try_from(action) else { return };
        let all_of = |modes: &[u16]| params.iter().all(|mode| matches!(mode, [mode] if modes.contains(mode)));
        let is_plain = params.iter().all(|param| param == [0]) && params.len() <= 1;
        let is_allowed = match intermediates {
            [] => {
                CONTROLS.contains(&action)
                    || PLAIN_ONLY.contains(&action) && is_plain
                    // With more it is about mice.
                    || action == b'T' && params.len() <= 1
                    || matches!(action, b'h' | b'l') && all_of(MODES)
            }
            [b'?'] => matches!(action, b'h' | b'l') && all_of(PRIVATE_MODES),
            // Form of the cursor.
            [b' '] => action == b'q',
            _ => false,
        };
        if ignore || !is_allowed {
            return;
        }
        self.bytes.extend([ESC, b'[']);
        let (marks, rest) =
            intermediates.split_at(intermediates.iter().take_while(|mark| **mark == b'?').count());
        self.bytes.extend(marks);
        if !is_plain {
            for (at, param) in params.iter().enumerate() {
                self.bytes.extend((at > 0).then_some(b';'));
                for (at, part) in param.iter().enumerate() {
                    self.bytes.extend((at > 0).then_some(b':'));
                    // Into memory: it cannot fail.
                    write!(self.bytes, "{part}").ok();
                }
            }
        }
        self.bytes.extend(rest);
        self.bytes.push(action);
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignore: bool, byte: u8) {
        self.spoke = true;
        let is_allowed = match intermediates {
            [] => ESCAPES.contains(&byte),
            [b'(' | b')'] => SETS.contains(&byte),
            _ => false,
        };
        if !ignore && is_allowed {
            self.bytes.push(ESC);
            self.bytes.extend(intermediates);
            self.bytes.push(byte);
        }
    }

    fn osc_dispatch(&mut self, _: &[&[u8]], _: bool) {
        self.spoke = true;
    }

    fn unhook(&mut self) {
        self.spoke = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Cut at each place.
    fn shown(text: &[u8]) -> Vec<u8> {
        let whole = Filter::default().pass(text);
        for at in 0..text.len() {
            let mut filter = Filter::default();
            let mut cut = filter.pass(&text[..at]);
            cut.extend(filter.pass(&text[at..]));
            assert_eq!(cut, whole, "{at}");
        }
        whole
    }

    #[test]
    fn colours_and_cursors_pass() {
        for same in [
            &b"\x1b[1;31mred\x1b[m\r\n\x1b[2J\x1b(B\x1b[3;10H\x1b[K\x1b[38:2:1:2:3m"[..],
            "grün \u{2028} ┌─┐ 終".as_bytes(),
            b"\x1b7\x1b8\x1b[s\x1b[u\x1b[?25l\x1b[?1049h\x1b[?1;7h\x1b[2 q\x0e\x0f\x1b[5;20r\x1b[H",
        ] {
            assert_eq!(shown(same), same, "{}", same.escape_ascii());
        }
    }

    #[test]
    fn what_commands_the_terminal_does_not() {
        for title in [
            &b"\x1b]0;owned\x07"[..],
            b"\x1b]2;owned\x1b\\",
            b"\x1b]52;c;b3duZWQ=\x07",
            b"\x1bPq\x1b\\",
            b"\x1bXstring\x1b\\",
            b"\x1b^message\x1b\\",
            b"\x1b_command\x1b\\",
            b"\x1b\x1b]0;x\x07",
            // Control characters inside are carried out, and the string goes on.
            b"\x1b\x00]0;x\x07",
            b"\x1b\x7f]0;x\x07",
            // Asked for, typed in, printed, moved: nothing.
            b"\x1b[6n\x1b[c\x1b[>c\x1b[5i\x1b[21t\x1b[?1000h\x1b[?25;1000h\x1b[>4;1m\x1b[1;2;3;4;5T\x1bZ\x05",
            b"\x9d\x90\x9b",
        ] {
            let found = String::from_utf8(shown(&[b"a", title, b"b"].concat())).unwrap();
            let found = found.replace('\u{fffd}', "");
            assert_eq!(found, "ab", "{}", title.escape_ascii());
        }
        assert_eq!(shown(b"\x1b\n]0;x\x07!"), b"\n!");
        // What is no string is text, and stays text.
        for text in [&b"\xc2\x1b]0;x\x07"[..], b"\xc2\xc2\x9d0;x\x07", b"\x1b\xc2\x9d0;x\x07"] {
            let found = shown(text);
            assert!(!found.contains(&ESC) && !found.contains(&0x9d), "{}", found.escape_ascii());
        }
    }

    #[test]
    fn noise_does_not_blank_the_console() {
        let noise = "-".repeat(MAX_SILENT);
        for begin in ["\x1bP", "\x1bX", "\x1b^", "\x1b]", "\u{90}"] {
            let found = Filter::default().pass(format!("{begin}{noise}Kernel panic").as_bytes());
            assert!(found.ends_with(b"Kernel panic"), "{begin:?}");
            let found = shown(format!("{begin}noise\x1b[1mKernel panic").as_bytes());
            assert!(found.ends_with(b"\x1b[1mKernel panic"), "{begin:?}");
        }
    }

    /// What is like what passes, and like what must not.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop::sample::select(b"\x1b\x9b\x9d\x90\xc2[]P^_Xk\\?;:mhHn07\x07\x18\x00".to_vec())
                .prop_map(|b| vec![b]),
            Just(b"\xc2\x9d".to_vec()),
            Just(b"\x1b]".to_vec()),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn nothing_else_ever_gets_out(bytes in pieces(), cut in any::<prop::sample::Index>()) {
            let mut filter = Filter::default();
            let at = cut.index(bytes.len() + 1);
            let mut out = filter.pass(&bytes[..at]);
            out.extend(filter.pass(&bytes[at..]));
            let text = String::from_utf8(out).unwrap();
            let controls = '\u{7f}'..='\u{9f}';
            prop_assert!(!text.chars().any(|c| controls.contains(&c)));
            let mut rest = text.as_str();
            while let Some(at) = rest.find('\x1b') {
                rest = &rest[at + 1..];
                let first = rest.bytes().next().unwrap();
                prop_assert!(b"[()".contains(&first) || ESCAPES.contains(&first), "{text:?}");
                if first == b'[' {
                    let end = rest[1..].find(|c: char| ('@'..='~').contains(&c)).unwrap();
                    let last = rest.as_bytes()[1 + end];
                    prop_assert!(CONTROLS.contains(&last) || b"suThlq".contains(&last), "{text:?}");
                }
            }
            // Filtered again, it is the same.
            prop_assert_eq!(Filter::default().pass(text.as_bytes()), text.as_bytes());
        }
    }
}
