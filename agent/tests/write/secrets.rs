//! What must never be shown.

use crate::{
    disks::{MIB, TestDisk, gpt_image},
    program::{Said, write, write_json},
    proxy::{Manners, Proxy},
    server::{Reply, Served, Server},
};

const SECRETS: [&str; 6] = ["t0psecret", "passw0rd", "k3y-of-url", "pr0xyword", "Bearer", "cHIweHl3b3Jk"];

fn assert_silent(said: &Said) {
    for secret in SECRETS {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "{secret} in {said:?}");
    }
}

/// `url` with user, password and query.
fn keyed(server: &Server) -> String {
    let mut url = server.url("/image?temp_url_sig=k3y-of-url#k3y-of-url");
    url.set_username("somebody").unwrap();
    url.set_password(Some("passw0rd")).unwrap();
    url.to_string()
}

#[test]
fn keys_of_urls_files_and_proxies_are_not_shown_whatever_happens() {
    let image = gpt_image(3 * MIB, 512);
    let served = Served::new(image.clone());
    let breaks = Server::serve(move |request| match request.number {
        0 => served.reply(request).cut_at(2 * MIB),
        _ => served.reply(request),
    });
    let good = image.clone();
    let folder = tempfile::tempdir().unwrap();
    let authorization = folder.path().join("authorization");
    std::fs::write(&authorization, "Bearer t0psecret\n").unwrap();
    let more = ["--authorization-file", authorization.to_str().unwrap()];
    for (server, code) in [
        (Server::start(move |_| Reply::ok(good.clone())), 0),
        (breaks, 0),
        (Server::start(|_| Reply::status("404 Not Found")), 3),
        (Server::start(|_| Reply::redirect("ftp://a:passw0rd@127.0.0.1/?k3y-of-url")), 3),
        (Server::start(|_| Reply::redirect("http://[passw0rd")), 3),
        (Server::start(|_| Reply::ok("other bytes")), 4),
        (Server::start_tls(|_| Reply::ok("x")), 3),
    ] {
        for style in ["json", "auto", "bar"] {
            let disk = TestDisk::file(image.len());
            let mut command = write_json(&keyed(&server), &disk.path, &image, &more);
            if style != "json" {
                let hex = crate::disks::sha256(&image).hex();
                command = write(["--progress", style, "--sha256", &hex, &keyed(&server)]);
                command.arg(&disk.path).args(more);
            }
            let said = Said::of(command);
            assert_eq!(said.code, Some(code), "{said:?}");
            assert_silent(&said);
        }
    }
}

#[test]
fn the_password_of_the_proxy_is_not_shown() {
    let image = gpt_image(3 * MIB, 512);
    let served = Served::new(image.clone());
    let server = Server::serve(move |request| served.reply(request));
    // `u:pr0xyword`
    let fits = Proxy::start(Manners { authorization: Some("Basic dTpwcjB4eXdvcmQ="), ..Manners::default() });
    let refuses = Proxy::start(Manners { authorization: Some("Basic eDp5"), ..Manners::default() });
    let gone = "http://u:pr0xyword@127.0.0.1:1".to_owned();
    let socks = "socks5://u:pr0xyword@127.0.0.1:1".to_owned();
    for (proxy, code) in
        [(fits.url("u:pr0xyword"), Some(0)), (refuses.url("u:pr0xyword"), Some(3)), (socks, Some(2))]
    {
        let disk = TestDisk::file(image.len());
        let mut command = write_json(server.url("/image").as_str(), &disk.path, &image, &[]);
        command.env("http_proxy", &proxy);
        let said = Said::of(command);
        assert_eq!(said.code, code, "{said:?}");
        assert_silent(&said);
    }
    assert!(fits.requests()[0].starts_with("GET http://127.0.0.1:"));
    // A proxy that is not there is tried for a minute; what is said meanwhile is enough.
    let disk = TestDisk::file(image.len());
    let mut command = write_json(server.url("/image").as_str(), &disk.path, &image, &[]);
    command.env("http_proxy", &gone);
    let mut child = crate::program::start(command);
    std::thread::sleep(std::time::Duration::from_secs(2));
    child.kill().unwrap();
    let said = Said::from(child.wait_with_output().unwrap());
    assert!(said.out.contains("cannot reach"), "{said:?}");
    assert_silent(&said);
}

#[test]
fn a_url_that_is_none_is_not_shown_either() {
    for url in ["http://somebody:passw0rd@", "http://somebody:passw0rd@[/image?k3y-of-url", "passw0rd"] {
        let said = Said::of(write(["--sha256", &"0".repeat(64), url, "/nonexistent/disk"]));
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_silent(&said);
    }
}
