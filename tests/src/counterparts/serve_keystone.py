"""Runs a real Keystone for a test: serve_keystone.py FOLDER PORT URL-OF-BARE-METAL TOKEN-SECONDS

SQLite, Fernet tokens, no cache. Made at first: project `demo` with the users `boss` (admin), `member` and `reader` of these roles, the
user `service` by whom the controller asks, and a catalog with the bare-metal service. The password of all is `secret`. Nothing but
this process runs; it ends with its standard input.
"""

import os
import pathlib
import subprocess
import sys
import threading
import warnings

folder, port, baremetal, seconds = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
url = f"http://127.0.0.1:{port}/v3"
configuration = folder / "keystone.conf"
PASSWORD = "secret"


def write_configuration():
    configuration.write_text(
        f"""[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db
[token]
expiration = {seconds}
[fernet_tokens]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = false
[identity]
password_hash_rounds = 4
"""
    )


def manage(*arguments):
    program = pathlib.Path(sys.executable).with_name("keystone-manage")
    subprocess.run([program, "--config-file", configuration, *arguments], check=True)


def make():
    for name in ("fernet", "credential"):
        (folder / name).mkdir(mode=0o700)
    manage("db_sync")
    own = (f"--keystone-user={os.getuid()}", f"--keystone-group={os.getgid()}")
    manage("fernet_setup", *own)
    manage("credential_setup", *own)
    endpoints = [f"--bootstrap-{kind}-url={url}" for kind in ("admin", "internal", "public")]
    manage("bootstrap", f"--bootstrap-password={PASSWORD}", "--bootstrap-region-id=RegionOne", *endpoints)


def serve():
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(configuration)
    sys.argv = sys.argv[:1]
    from keystone.server import wsgi
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", port, wsgi.initialize_public_application(), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def populate():
    import openstack

    cloud = openstack.connect(
        auth_url=url, username="admin", password=PASSWORD, project_name="admin", user_domain_id="default", project_domain_id="default"
    )
    identity = cloud.identity
    project = identity.create_project(name="demo", domain_id="default")
    other = identity.create_project(name="other", domain_id="default")
    services = identity.create_project(name="services", domain_id="default")
    roles = {role.name: role for role in identity.roles()}
    roles["service"] = roles.get("service") or identity.create_role(name="service")
    for name, role, where in (
        ("boss", "admin", project), ("member", "member", project), ("reader", "reader", project),
        ("stranger", "member", other), ("service", "service", services), ("service", "admin", services),
    ):
        user = identity.find_user(name) or identity.create_user(name=name, password=PASSWORD, domain_id="default")
        identity.assign_project_role_to_user(where, user, roles[role])
    for name, role in (("boss", "admin"), ("reader", "reader")):
        identity.assign_system_role_to_user(identity.find_user(name), roles[role], "all")
    service = identity.create_service(name="ironic", type="baremetal")
    for interface in ("public", "internal", "admin"):
        identity.create_endpoint(service_id=service.id, interface=interface, url=baremetal, region_id="RegionOne")


warnings.simplefilter("ignore")
new = not configuration.exists()
write_configuration()
if new:
    make()
serve()
if new:
    populate()
print("ready", flush=True)
sys.stdin.read()
