use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    keys::{SECTIONS, keys_of},
    *,
};

fn error(text: &str) -> String {
    parse(text, Path::new("bessemer.toml")).unwrap_err().to_string()
}

#[test]
fn an_empty_file_works() {
    let config = parse("", Path::new("x")).unwrap();
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:6385");
    assert_eq!(config.conductor.deploy_callback_timeout, 1800);
    assert_eq!(config.resolve(&config.boot.deploy_iso), Path::new("/var/lib/bessemer/deploy.iso"));
}

#[test]
fn an_unknown_key_is_named_with_its_line_its_section_and_the_nearest_key() {
    assert_eq!(
        error("\n[conductor]\ndeploy_calback_timeout = 5\n"),
        "bessemer.toml, line 3: there is no key deploy_calback_timeout in section [conductor]: did you mean \
         deploy_callback_timeout?"
    );
    assert_eq!(
        error("state_dri = \"/x\""),
        "bessemer.toml, line 1: there is no key state_dri in the top of the file: did you mean state_dir?"
    );
    assert_eq!(
        error("[agent]"),
        "bessemer.toml, line 1: there is no key agent in the top of the file: did you mean agents?"
    );
    assert_eq!(
        error("[api]\ndeploy_iso = 1"),
        "bessemer.toml, line 2: there is no key deploy_iso in section [api]: did you mean deploy_iso in section \
         [boot]?"
    );
    assert_eq!(error("zzz = 1"), "bessemer.toml, line 1: there is no key zzz in the top of the file");
}

#[test]
fn what_is_no_toml_or_has_the_wrong_kind_names_the_line() {
    assert!(error("a = \n").starts_with("bessemer.toml, line 1: "));
    let kind = error("[files]\n\nlisten = 5\n");
    assert!(kind.starts_with("bessemer.toml, line 3: "), "{kind}");
    let section = error("api = 5\n");
    assert!(section.starts_with("bessemer.toml, line 1: "), "{section}");
}

#[test]
fn values_that_cannot_work_are_refused() {
    assert!(error("[conductor]\nworkers_pool_size = 0").contains("conductor.workers_pool_size must be"));
    assert!(error("[files]\nurl_for_bmcs = \"ftp://x/\"").contains("files.url_for_bmcs must start with"));
    assert!(error("[api]\nlisten = \"0.0.0.0:6385\"").contains("allow_unauthenticated"));
}

#[test]
fn a_file_that_is_not_there_or_too_large_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.toml");
    assert!(load(&path).unwrap_err().to_string().contains("none.toml cannot be read"));
    std::fs::write(&path, " ".repeat(2 * 1024 * 1024)).unwrap();
    assert!(matches!(load(&path), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn an_ipv6_address_is_advertised_in_brackets() {
    let host = |address: &str| {
        let text = format!("advertise_address = \"{address}\"");
        parse(&text, Path::new("x")).unwrap().advertised_host()
    };
    assert_eq!(host("fd00::1"), "[fd00::1]");
    assert_eq!(host("[fd00::1]"), "[fd00::1]");
    assert_eq!(host("deploy.example.com"), "deploy.example.com");
}

// === docs/configuration.md ===

/// Where each section's `Config` is written down, with the doc comments that the documentation is made of.
const SOURCES: &[(&str, &str)] = &[
    ("", include_str!("../config.rs")),
    ("store", include_str!("../store/config.rs")),
    ("api", include_str!("../api/mod.rs")),
    ("keystone", include_str!("../api/access/keystone/mod.rs")),
    ("agents", include_str!("../agents/mod.rs")),
    ("files", include_str!("../files.rs")),
    ("boot", include_str!("../boot/mod.rs")),
    ("images", include_str!("../image/mod.rs")),
    ("bmc", include_str!("../bmc/config.rs")),
    ("conductor", include_str!("../reconcile/config.rs")),
    ("console", include_str!("../console/mod.rs")),
    ("ilo", include_str!("../drivers/config.rs")),
    ("sensor_data", include_str!("../sensors/config.rs")),
    ("notifications", include_str!("../notify/config.rs")),
];

const HEAD: &str = "# Configuration\n\n\
    `bessemer serve --config FILE` reads one TOML file. An empty file works; every key has a default. \
    `bessemer config check --config FILE` checks it and the file of users; certificates, keys and passwords in other files, and servers, are looked at on start.\n\n\
    This page is made from the doc comments of the `Config` types: a test fails when it is stale, and writes it \
    anew with `BESSEMER_WRITE_DOCS=1`.\n";

/// The doc comment of each field of `struct Config`.
fn comments(source: &str) -> BTreeMap<String, String> {
    let body = source.split_once("pub struct Config {").expect("a Config").1;
    let mut fields = BTreeMap::new();
    let mut comment = Vec::new();
    for line in body.lines().map(str::trim).take_while(|line| *line != "}") {
        if let Some(text) = line.strip_prefix("///") {
            comment.push(text.trim());
        } else if let Some(field) = line.strip_prefix("pub ") {
            let name = field.split(':').next().expect("a name");
            fields.insert(name.to_owned(), comment.join(" "));
            comment.clear();
        }
    }
    fields
}

fn documentation() -> String {
    let missing = SECTIONS.iter().find(|(name, _)| !SOURCES.iter().any(|(source, _)| source == name));
    assert!(missing.is_none(), "add section {:?} to SOURCES", missing.map(|(name, _)| name));
    let mut page = HEAD.to_owned();
    let (described, sections) = (SOURCES.iter().skip(1), SECTIONS.iter());
    assert!(
        described.map(|(name, _)| name).eq(sections.map(|(name, _)| name)),
        "a section has no source here"
    );
    for (section, source) in SOURCES {
        let keys = match SECTIONS.iter().find(|(name, _)| name == section) {
            Some((_, keys)) => keys(),
            None => keys_of::<Config>(),
        };
        let comments = comments(source);
        if !section.is_empty() {
            write!(page, "\n## `[{section}]`\n").unwrap();
        }
        page.push_str("\n| key | meaning |\n|---|---|\n");
        for key in keys.iter().filter(|key| !SECTIONS.iter().any(|(name, _)| name == *key)) {
            let comment = comments.get(*key).map_or("", String::as_str);
            assert!(comment.contains("Default"), "{section}.{key}: its doc comment must say its default");
            writeln!(page, "| `{key}` | {} |", comment.replace('|', "\\|")).unwrap();
        }
    }
    page
}

#[test]
fn the_documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("BESSEMER_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, documentation()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, documentation(), "run this test with BESSEMER_WRITE_DOCS=1 and commit the page");
}
