"""The configuration: everything that is wrong is told at once, with file, key and what to write."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge.changes.versions import NAME, DeviceChange, ListVersion, ListVersions, write_versions
from edge.cli import EXIT_CONFIG, main
from edge.config import Config, ConfigError, Trying, load
from edge.sampling.lines import MAX_DEVICES

HEAD = """
[node]
id = "cab-1"
data_dir = "data"

[cloud]
url = "https://city.example"
token = "secret"
"""
LINES = """
[[line]]
name = "north"
protocol = "modbus"
host = "gateway"

[[line]]
name = "broker"
protocol = "mqtt"
host = "localhost"
client_id = "cab-1"
"""
LAMP = """
[[device]]
id = "lamp-1"
profile = "lx-1"
line = "north"
address = { unit = 1 }
"""
GOOD = HEAD + LINES + LAMP

Told = Callable[..., dict[str, str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


@pytest.fixture
def told(file: Path) -> Told:
    """The problems of a text, by key."""

    def find(text: str, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(file, environment or {})
        assert {p.file for p in caught.value.problems} == {str(file)}
        found: dict[str, str] = {}
        for problem in caught.value.problems:
            found[problem.key] = f"{found.get(problem.key, '')} {problem.text}".strip()
            assert str(problem) in str(caught.value).splitlines()
        return found

    return find


def good(file: Path, text: str = GOOD, environment: Mapping[str, str] | None = None) -> Config:
    file.write_text(text)
    return load(file, environment or {})


def test_a_sound_file_gives_lines_devices_and_the_roster(file: Path) -> None:
    config = good(file)
    assert [(line.name, line.kind.name, len(line.attachments)) for line in config.lines] == [
        ("north", "modbus", 1),
        ("broker", "mqtt", 0),
    ]
    assert [d.id for d in config.roster.devices] == ["lamp-1"]
    assert list(config.roster.profiles) == ["lx-1"]
    assert config.token == "secret"
    assert config.node.data_dir == str(file.parent / "data"), "paths are beside the file, wherever it is started"
    assert config.lines[0].tables["lamp-1"].poll_s == 10
    (lamp,) = config.roster.devices
    assert (lamp.period_s, lamp.heartbeats_s) == (10, {}), "what history needs to know"
    reports = GOOD + "\n[device.report]\nactive_power = { deadband = 1, heartbeat_s = 600 }\n"
    assert good(file, reports).roster.devices[0].heartbeats_s == {"active_power": 600}


def test_everything_wrong_is_told_at_once(told: Told) -> None:
    found = told(
        """
        [node]
        id = "cab 1"
        data_dir = "data"
        colour = "red"

        [cloud]
        url = "http://city.example"
        push_interval_s = 0

        [health]
        listen = "8470"

        [[device]]
        id = "lamp-1"
        profile = "lx-1"
        adress = { unit = 1 }
        """
    )
    assert {
        "node.id",
        "node.colour",
        "cloud.push_interval_s",
        "health.listen",
        "device[0].adress",
        "device[0].line",
        "device[0].address",
    } <= found.keys()
    assert "from 1 to 3600" in found["cloud.push_interval_s"]
    assert 'did you mean "address"' in found["device[0].adress"]


def test_everything_wrong_between_tables_is_told_at_once(told: Told) -> None:
    found = told(
        HEAD.replace("https", "http").replace('token = "secret"', 'token_file = "none.token"')
        + LINES
        + '[[line]]\nname = "south"\nprotocol = "modbsu"\n'
        + '[[line]]\nname = "broker"\nprotocol = "ble"\n'
        + '[health]\nlisten = "127.0.0.1:70000"\n'
        + LAMP
        + LAMP.replace("lx-1", "lx-2")
        + LAMP.replace("lamp-1", "lamp-3").replace("north", "noth")
        + LAMP.replace("lamp-1", "bin-1").replace("lx-1", "bn-1")
        + LAMP.replace("lamp-1", "cab-1")
        + LAMP.replace("lamp-1", "lamp-5").replace("unit = 1", "unit = 999, port = 3")
        + LAMP.replace("lamp-1", "lamp-6")
        + "report = { dim_levl = { deadband = 1 } }\n"
    )
    assert "insecure = true" in found["cloud.url"]
    assert "none.token" in found["cloud.token_file"]
    assert "65535" in found["health.listen"]
    assert 'did you mean "modbus"' in found["line[2].protocol"]
    assert 'two lines "broker"' in found["line[3].name"]
    assert "taken already" in found["device[1].id"]
    assert 'did you mean "lx-1"' in found["device[1].profile"]
    assert 'did you mean "north"' in found["device[2].line"]
    assert 'profile "bn-1" speaks mqtt; line "north" is modbus' in found["device[3].line"]
    assert "taken already" in found["device[4].id"], "the node has its name from the same city"
    assert "from 0 to 255" in found["device[5].address.unit"]
    assert "no such key" in found["device[5].address.port"]
    assert 'did you mean "dim_level"' in found["device[6].report.dim_levl"]
    assert {k for k in found if k.endswith("unit")} == {f"device[{i}].address.unit" for i in (4, 5, 6)}, "unit 1 thrice"
    assert len(found) == 15


def test_what_the_city_could_not_show_find_or_place_is_told(told: Told, file: Path) -> None:
    strange = 'name = "Quai \\u202e3"\nlon = 5.02\ntags = ["quay ", "' + "x" * 201 + '", "Le\\u0301a", "right"]\n'
    found = told(
        HEAD.replace('id = "cab-1"', 'id = "cab-1\\n"')
        + '[site]\nlon = 5.0\nlat = 47.3\ntime_zone = "Europe/Paris"\nname = "Place\\u0007"\n'
        + LINES.replace('name = "broker"', 'name = "broker\\n"')
        + LAMP + strange
        + LAMP.replace("lamp-1", "lamp-2\\n").replace("unit = 1", "unit = 2") + "lon = nan\nlat = 47\n"
        + LAMP.replace("lamp-1", "lamp-3").replace("unit = 1", "unit = 3") + f"tags = {['t'] * 51}\n"
    )  # fmt: skip
    assert "U+000A at character 6: leave it out" in found["node.id"]
    assert "U+0007 at character 6" in found["site.name"]
    assert "U+000A" in found["line[1].name"]
    assert "turns the direction" in found["device[0].name"]
    assert "begins or ends with a space" in found["device[0].tags[0]"]
    assert "has 201 characters; at most 200" in found["device[0].tags[1]"]
    assert "write 'Léa', with 3 characters" in found["device[0].tags[2]"]
    assert "a place has both lon and lat" in found["device[0].lat"]
    assert {"device[1].lon", "device[2].tags"} <= found.keys()
    assert "51 tags" in found["device[2].tags"]
    mild = good(file, GOOD + 'name = "Quai \\u202e3"\nlon = 5.0\n')
    assert {p.key for p in mild.unclear} == {"device[0].name", "device[0].lat"}, "a node that has run with it goes on"
    assert mild.roster.devices[0].name == "Quai \u202e3"
    config = good(file, GOOD + 'name = "Quai n° 3, مصباح"\nlon = 5.02\nlat = 47.3\ntags = ["quay"]\n')
    assert config.roster.devices[0].name == "Quai n° 3, مصباح"
    assert config.unclear == ()


@pytest.mark.parametrize("address", ["https://[::1", "https://", "https://city:99999", "https://u:p@city", "http://?x"])
def test_an_address_that_is_none(told: Told, address: str) -> None:
    assert "write for example https://" in told(GOOD.replace("https://city.example", address))["cloud.url"]


@pytest.mark.parametrize(
    ("url", "insecure", "allowed"),
    [
        ("https://city.example", False, True),
        ("http://city.example", False, False),
        ("http://10.0.0.7:8080", False, False),
        ("http://localhost.example", False, False),
        ("http://127.0.0.1:8080", False, True),
        ("http://[::1]:8080", False, True),
        ("http://localhost:8080", False, True),
        ("http://city.example", True, True),
    ],
)
def test_plain_http_only_to_this_machine_unless_asked_for(
    file: Path, told: Told, url: str, insecure: bool, allowed: bool
) -> None:
    text = GOOD.replace('"https://city.example"', f'"{url}"\ninsecure = {str(insecure).lower()}')
    if allowed:
        assert good(file, text).cloud.insecure is insecure
    else:
        assert "insecure = true" in told(text)["cloud.url"]


def test_the_token_comes_from_one_place(file: Path, told: Told) -> None:
    (file.parent / "node.token").write_text("from-file\n")
    from_file = GOOD.replace('token = "secret"', 'token_file = "node.token"')
    assert good(file, from_file).token == "from-file"
    both = GOOD.replace('token = "secret"', 'token = "secret"\ntoken_file = "node.token"')
    assert "one of the two" in told(both)["cloud.token_file"]
    assert "one of the two" in told(GOOD.replace('token = "secret"', ""))["cloud.token_file"]


@pytest.mark.parametrize("content", ["", " \n", "two words", "line\nline", "schlüssel"])
def test_a_token_that_cannot_be_one(file: Path, told: Told, content: str) -> None:
    (file.parent / "node.token").write_text(content)
    found = told(GOOD.replace('token = "secret"', 'token_file = "node.token"'))
    assert "nothing else" in found["cloud.token_file"]
    assert str(file.parent / "node.token") in found["cloud.token_file"]


def test_certificates_are_looked_at_before_the_start(file: Path, told: Told, need: Callable[[str], str]) -> None:
    (file.parent / "not.pem").write_text("hello")
    found = told(GOOD.replace("[[line]]", 'ca_file = "none.pem"\nclient_cert = "not.pem"\n[[line]]', 1))
    assert "none.pem cannot be used: No such file" in found["cloud.ca_file"]
    assert "not.pem cannot be used" in found["cloud.client_cert"]
    assert "PEM file with a certificate and its key" in found["cloud.client_cert"]
    pem = file.parent / "own.pem"
    make = [
        need("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        "/CN=cab-1",
    ]
    done = subprocess.run([*make, "-nodes", "-keyout", "-"], check=True, capture_output=True)
    pem.write_bytes(done.stdout)
    config = good(file, GOOD.replace("[[line]]", 'ca_file = "own.pem"\nclient_cert = "own.pem"\n[[line]]', 1))
    assert config.cloud.ca_file == config.cloud.client_cert == str(pem)
    locked = subprocess.run([*make, "-passout", "pass:word", "-keyout", "-"], check=True, capture_output=True)
    pem.write_bytes(locked.stdout)
    found = told(GOOD.replace("[[line]]", 'client_cert = "own.pem"\n[[line]]', 1))
    assert "without a password" in found["cloud.client_cert"], "told, and nobody is asked on a terminal"


def test_the_environment_stands_in(file: Path, told: Told) -> None:
    text = (
        GOOD.replace('"secret"', '"${TOKEN}"')
        .replace('"cab-1"', '"cab-${NUMBER}"', 1)
        .replace('host = "gateway"', 'host = "gateway"\nport = "${PORT}"')
    )
    config = good(file, text, {"TOKEN": "t0p", "NUMBER": "12", "PORT": "1502"})
    assert (config.token, config.node.id) == ("t0p", "cab-12")
    assert config.lines[0].settings.port == 1502, "digits alone become a number"
    found = told(text, {"PORT": "many"})
    assert "the environment has no TOKEN" in found["cloud.token"]
    assert "the environment has no NUMBER" in found["node.id"]
    assert "line[0].port" in found, "one missing variable hides nothing else"


def test_a_variable_in_a_port_must_be_a_number(told: Told) -> None:
    text = GOOD.replace('host = "gateway"', 'host = "gateway"\nport = "${PORT}"')
    assert "must be a whole number" in told(text, {"PORT": "many"})["line[0].port"]


def test_an_address_must_fill_the_topic_of_its_profile(told: Told) -> None:
    found = told(HEAD + LINES + '[[device]]\nid = "b"\nprofile = "bn-1"\nline = "broker"\naddress = {}\n')
    assert "is missing" in found["device[0].address.serial"]


def test_devices_without_any_line(told: Told) -> None:
    assert "no [[line]] at all" in told(HEAD + LAMP)["device[0].line"]


def test_profiles_of_ones_own_lie_beside_the_file(file: Path) -> None:
    (file.parent / "models").mkdir()
    text = GOOD.replace('data_dir = "data"', 'data_dir = "data"\nprofile_dirs = ["models", "nowhere"]')
    (file.parent / "models" / "odd.toml").write_text('kind = "lamp"\n')
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    by_file = {p.file for p in caught.value.problems}
    assert by_file == {str(file.parent / "nowhere"), str(file.parent / "models" / "odd.toml")}


@pytest.mark.slow
def test_too_many_devices(told: Told) -> None:
    many = "".join(LAMP.replace("lamp-1", f"lamp-{i}") for i in range(MAX_DEVICES + 1))
    assert f"at most {MAX_DEVICES}" in told(HEAD + LINES + many)["device"]


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"[node", "is not TOML"), (b"\xff", "is not UTF-8"), (b"#" * (1 << 20) + b"\n", "larger than")],
)
def test_a_file_that_is_no_toml(file: Path, content: bytes, text: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=text):
        load(file, {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file.parent / "none.toml", {})


@pytest.mark.parametrize("wrong", ['line = "x"', 'device = { id = "a" }', "cloud = 3", 'node = "cab"'])
def test_tables_that_are_none(told: Told, wrong: str) -> None:
    name = wrong.partition(" ")[0]
    assert any(key.startswith(name) for key in told(wrong))


def test_one_mistake_hides_no_other(told: Told) -> None:
    text = GOOD.replace('protocol = "mqtt"', 'protocol = "mqqt"').replace("unit = 1", "unit = 999")
    text = text.replace('token = "secret"', 'token = "secret"\npush_interval_s = 0')
    found = told(text + "\nreport = { dim_level = { deadband = -1 } }\n[outbox]\nlimit_bytes = 5\n")
    assert {"cloud.push_interval_s", "outbox.limit_bytes", "line[1].protocol"} <= found.keys()
    assert any(k.startswith("device[0].report") for k in found)


def test_files_that_a_line_names_lie_beside_the_configuration(file: Path) -> None:
    text = GOOD.replace('client_id = "cab-1"', 'client_id = "cab-1"\nusername = "u"\npassword_file = "secrets/pw"')
    file.write_text(text)
    (doubt,) = load(file, {}).doubts
    assert (doubt.key, "cannot be read" in doubt.text) == ("line[1].password_file", True)
    assert main(["check", "--config", str(file)]) == EXIT_CONFIG
    (file.parent / "secrets").mkdir()
    (file.parent / "secrets" / "pw").write_text("x")
    assert load(file, {}).lines[1].settings.password_file == str(file.parent / "secrets" / "pw")


def test_a_broken_profile_is_told_once(file: Path) -> None:
    own = file.parent / "own"
    own.mkdir()
    (own / "my-lamp.toml").write_text('kind = "streetlight"\ndriver = "modbus"\n[point.a]\ntype = "int"\n')
    text = GOOD.replace("lx-1", "my-lamp")
    file.write_text(text.replace('data_dir = "data"', 'data_dir = "d"\nprofile_dirs = ["own"]'))
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert {Path(p.file).name for p in caught.value.problems} == {"my-lamp.toml"}


SECOND = LAMP.replace("lamp-1", "lamp-2")
PORT = '[[line]]\nname = "NAME"\nprotocol = "modbus"\nserial = "TTY"\n'


def test_one_serial_port_is_one_line_by_whatever_name_it_is_called(told: Told, tmp_path: Path) -> None:
    (tmp_path / "ttyS9").touch()
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyS9")
    one = PORT.replace("NAME", "east").replace("TTY", str(tmp_path / "ttyS9"))
    two = PORT.replace("NAME", "west").replace("TTY", str(tmp_path / "by-id"))
    found = told(GOOD + one + two)
    assert found.keys() == {"line[3].serial"}
    assert found["line[3].serial"] == (
        f'serial port {tmp_path}/ttyS9 is taken already by "east" (line[2].serial); '
        "put all devices of one port on one line"
    )


def test_a_unit_is_one_device_of_a_model_also_over_two_lines_to_one_gateway(told: Told) -> None:
    found = told(GOOD + SECOND)
    assert found.keys() == {"device[1].address.unit"}
    assert found["device[1].address.unit"] == (
        'unit 1 at gateway:502, with profile lx-1, is taken already by "lamp-1" (device[0].address.unit); '
        "write the unit number of this device, or leave one of the two out"
    )
    other = LINES.partition('[[line]]\nname = "broker"')[0].replace("north", "south")
    assert told(GOOD + other + SECOND.replace("north", "south")).keys() == {"device[1].address.unit"}


def test_lines_may_share_a_gateway_and_models_a_unit(file: Path) -> None:
    other = LINES.partition('[[line]]\nname = "broker"')[0].replace("north", "south")
    meter = SECOND.replace("lx-1", "tm-3")
    good(file, GOOD + other + meter.replace("north", "south") + LAMP.replace("lamp-1", "l3").replace("= 1 }", "= 3 }"))


def test_unit_0_is_everybody_on_a_serial_line_and_a_device_over_tcp(told: Told, file: Path) -> None:
    lamp = LAMP.replace("unit = 1", "unit = 0")
    good(file, GOOD.replace("unit = 1", "unit = 0"))
    good(file, GOOD.replace("unit = 1", "unit = 255"))
    found = told(HEAD + PORT.replace("NAME", "north").replace("TTY", "/dev/ttyS0") + lamp)
    assert found.keys() == {"device[0].address.unit"}
    assert found["device[0].address.unit"] == (
        "0 is the broadcast address of a serial line, which no device answers to; write the unit number that is set "
        "at the device, 1 to 247"
    )


def test_a_register_that_is_written_belongs_to_one_device(told: Told, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for name in ("upper", "lower"):
        (tmp_path / "models" / f"{name}.toml").write_text(
            'kind = "streetlight"\ndriver = "modbus"\nsource = ["a sheet"]\nmodel = "a lamp"\n'
            '[point.level]\ntype = "int"\nwritable = true\nsafe = 0\nat = { holding = 7 }\n'
        )
    head = HEAD.replace('data_dir = "data"', 'data_dir = "data"\nprofile_dirs = ["models"]')
    found = told(head + LINES + LAMP.replace("lx-1", "upper") + SECOND.replace("lx-1", "lower"))
    assert found.keys() == {"device[1].address.unit"}
    assert "holding 7 of unit 1 at gateway:502, which is written, is taken already" in found["device[1].address.unit"]


def test_whoever_only_asks_the_node_need_not_know_its_token(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        '[node]\nid = "cab-1"\ndata_dir = "data"\n'
        '[cloud]\nurl = "https://lamplighter.example.org"\ntoken_file = "${CREDENTIALS_DIRECTORY}/token"\n'
        '[control]\nsocket = "run/node.sock"\ntechnicians = "street"\n'
    )
    with pytest.raises(ConfigError, match="CREDENTIALS_DIRECTORY"):
        load(path, {})
    config = load(path, {}, secrets=False)
    assert (config.token, config.socket, config.control.technicians) == ("", tmp_path / "run" / "node.sock", "street")


def test_the_socket_stands_in_the_data_directory_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        '[node]\nid = "cab-1"\ndata_dir = "data"\n[cloud]\nurl = "https://lamplighter.example.org"\ntoken = "x"\n'
        '[health]\nnames = ["cab-17.local", "fd00::1"]\n'
    )
    found = load(path, {"HTTPS_PROXY": "proxy:3128"})
    assert (found.socket, found.proxy) == (tmp_path / "data" / "node.sock", "http://proxy:3128")
    with pytest.raises(ConfigError, match="HTTPS_PROXY of the environment is no HTTP proxy"):
        load(path, {"HTTPS_PROXY": "socks5://proxy"})
    path.write_text(path.read_text().replace("fd00::1", "http://cab-17/"))
    with pytest.raises(ConfigError, match=r"health\.names"):
        load(path, {})


def test_a_secret_that_everybody_can_read_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = file.parent / "node.token"
    secret.write_text("secret")
    file.write_text(GOOD.replace('token = "secret"', 'token_file = "node.token"'))
    for mode, exposed in ((0o600, False), (0o440, False), (0o644, True)):
        secret.chmod(mode)
        assert bool(load(file, {}).exposed) is exposed, oct(mode)
    assert main(["check", "--config", str(file)]) == 0
    assert f"{secret} can be read by everybody on this machine: chmod 600 it" in capsys.readouterr().err
    file.write_text(GOOD)
    file.chmod(0o644)
    assert load(file, {}).exposed == (f"{file} can be read by everybody on this machine: chmod 600 it",)
    file.write_text(GOOD.replace('token = "secret"', 'token = "${TOKEN}"'))
    assert load(file, {"TOKEN": "secret"}).exposed == ()


def changed_at_the_cabinet(file: Path, *changes: DeviceChange) -> None:
    version = ListVersion(
        number=1, by="Zoé", time_us=0, synced=True, act="replaced", device=changes[0].device, changes=changes
    )
    (file.parent / "data").mkdir(exist_ok=True)
    write_versions(file.parent / "data", ListVersions((version,)))


def lamp(name: str, unit: object) -> dict[str, Any]:
    return {"id": name, "profile": "lx-1", "line": "north", "address": {"unit": unit}}


def units(config: Config) -> dict[str, int]:
    return {a.device.id: a.address.unit for line in config.lines for a in line.attachments}


REPLACED = DeviceChange(device="lamp-1", was=lamp("lamp-1", 1), now=lamp("lamp-1", 9))
ADDED = DeviceChange(device="lamp-2", now=lamp("lamp-2", 2))


def test_what_technicians_have_changed_counts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed_at_the_cabinet(file, REPLACED, ADDED)
    config = good(file)
    assert units(config) == {"lamp-1": 9, "lamp-2": 2}
    assert config.listed.counting == (REPLACED, ADDED)
    assert config.listed.told() == []
    assert main(["check", "--config", str(file)]) == 0
    assert "lamp-1  streetlight, lx-1" in (said := capsys.readouterr().out)
    assert "points, replaced at the cabinet by Zoé" in said
    changed_at_the_cabinet(file, DeviceChange(device="lamp-1", was=lamp("lamp-1", 1)))
    assert units(load(file, {})) == {}
    assert main(["check", "--config", str(file)]) == 0
    assert "lamp-1 of node.toml is not there" in capsys.readouterr().out


def test_who_edits_the_file_wins(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed_at_the_cabinet(file, REPLACED, ADDED)
    config = good(file, GOOD.replace("unit = 1", "unit = 5"))
    assert units(config) == {"lamp-1": 5, "lamp-2": 2}
    (said,) = config.listed.told()
    assert "lamp-1" in said
    assert "the file says something else" in said
    assert main(["check", "--config", str(file)]) == 0
    assert said in capsys.readouterr().err


def test_a_change_that_does_not_go_with_the_file_any_more_stops_nothing(file: Path) -> None:
    changed_at_the_cabinet(file, REPLACED, ADDED)
    more = '[[device]]\nid = "lamp-3"\nprofile = "lx-1"\nline = "north"\naddress = { unit = 9 }\n'
    config = good(file, GOOD + more)
    assert units(config) == {"lamp-1": 1, "lamp-3": 9, "lamp-2": 2}, "the others count"
    assert config.listed.unfit == (REPLACED,)
    assert "does not go with the file" in config.listed.told()[0]


def test_changes_make_no_broken_file_whole(file: Path, told: Told) -> None:
    changed_at_the_cabinet(file, REPLACED)
    assert set(told(GOOD.replace("unit = 1", "unit = 999"))) == {"device[0].address.unit"}


def test_damaged_changes_stop_nothing(file: Path) -> None:
    changed_at_the_cabinet(file, REPLACED)
    (file.parent / "data" / NAME).write_text("{")
    config = good(file)
    assert units(config) == {"lamp-1": 1}
    assert "is damaged" in config.listed.told()[0]


def test_what_a_technician_types_is_never_a_variable(file: Path) -> None:
    changed_at_the_cabinet(file, DeviceChange(device="lamp-2", now={**lamp("lamp-2", 2), "name": "${SECRET}"}))
    config = good(file, environment={"SECRET": "hush"})
    assert [d.name for d in config.roster.devices] == ["", "${SECRET}"]


def test_changes_can_be_tried(file: Path) -> None:
    good(file)
    taken = DeviceChange(device="lamp-1", was=lamp("lamp-1", 1), now=lamp("lamp-1", 2))
    with pytest.raises(ConfigError) as caught:
        load(file, {}, trying=Trying((taken, ADDED), last="lamp-1"))
    (problem,) = caught.value.problems
    assert caught.value.devices == ("lamp-2", "lamp-1")
    assert problem.key == "device[1].address.unit", "told of the one that is looked at last"
    assert units(load(file, {}, trying=Trying((REPLACED, ADDED)))) == {"lamp-1": 9, "lamp-2": 2}
