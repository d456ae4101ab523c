"""The command line and the settings, as a person meets them."""

import json
import wave
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.config import load_config
from stream_server.errors import ConfigError


def run(*arguments: str, text: str | None = None):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, list(arguments), input=text)


def test_say_writes_a_file_and_its_figures(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    result = run("say", "Hello there.", "-o", str(out), "--json", "--seed", "3", "--sample-rate", "32000")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (32_000, 1, 2)
        assert file.getnframes() == round(figures["audio_s"] * 32_000)
    assert figures["seed"] == 3
    assert figures["tokens"] == round(figures["audio_s"] * 25)
    assert 0 < figures["ttfa_s"] < figures["audio_s"]


@pytest.mark.parametrize(("ending", "magic"), [("ogg", b"OggS"), ("FLAC", b"fLaC"), ("webm", b"\x1a\x45\xdf\xa3")])
def test_say_writes_what_the_name_s_ending_says(ending: str, magic: bytes, tmp_path: Path) -> None:
    out = tmp_path / f"out.{ending}"
    assert run("say", "Hello.", "-o", str(out)).exit_code == 0
    assert out.read_bytes().startswith(magic)


def test_a_dictionary_is_spoken_by_and_a_wrong_one_named(tmp_path: Path) -> None:
    words, wrong = tmp_path / "words.json", tmp_path / "wrong.toml"
    words.write_text('{"tomato": "k ae1 t"}')
    wrong.write_text('tomato = "zz"')
    sounds = []
    for name, arguments in {"with": ["--dictionary", str(words)], "without": []}.items():
        out = tmp_path / f"{name}.wav"
        assert run("say", "Tomato.", "-o", str(out), *arguments).exit_code == 0
        sounds.append(out.read_bytes())
    assert sounds[0] != sounds[1]
    for command in (["say", "Tomato."], ["batch", str(words)]):
        refused = run(*command, "-o", str(tmp_path / "x"), "--dictionary", str(wrong))
        assert refused.exit_code == 2 and "wrong.toml" in refused.output.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--voice", "nobody"], "unknown_voice"),
        (["--sample-rate", "1"], "24000, 32000"),
        (["--speed", "9"], "--speed"),
        (["--seed", "-1"], "--seed"),
        (["--carry-over"], "every sentence anew"),
        (["--dtype", "lm=bf16"], "dtype"),
        (["--dtype", "lm:bf16"], "PART=TYPE"),
        (["--dtype", "lm=int8"], "dtype.lm"),
    ],
)
def test_say_names_what_is_wrong(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    result = run("say", "Hello.", "-o", str(tmp_path / "x.wav"), *arguments)
    assert result.exit_code != 0
    assert complaint in result.output
    assert not (tmp_path / "x.wav").exists()


def test_what_the_model_cannot_do_for_everybody_is_named_before_it_serves() -> None:
    result = run("serve", "--carry-over", "--engine", "inprocess", "--port", "0", "--wyoming-port", "off")
    assert result.exit_code != 0 and "every sentence anew" in result.output.replace("\n", " ")


def test_voices_are_listed() -> None:
    assert list(json.loads(run("voices", "--json").stdout)) == ["kathleen", "slt"]


def test_settings_come_from_file_environment_and_flags_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("port = 1\nslots = 2\nthreads = 3\npronunciations = 'a.json'\n[limits]\nqueue = 7\nlead_s = 1.0\n")
    monkeypatch.setenv("STREAM_SERVER_SLOTS", "20")
    monkeypatch.setenv("STREAM_SERVER_LIMITS__LEAD_S", "3.5")
    config = load_config(file, port=99, host=None)
    assert (config.port, config.slots, config.threads, config.host) == (99, 20, 3, "127.0.0.1")
    assert (config.limits.queue, config.limits.lead_s) == (7, 3.5)
    assert config.pronunciations == Path("a.json")


@pytest.mark.parametrize(("text", "port"), [("", 10_200), ("wyoming_port = 7", 7), ('wyoming_port = "off"', None)])
def test_wyoming_has_a_port_of_its_own_or_none(text: str, port: int | None, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    assert load_config(file).wyoming_port == port
    assert load_config(file, wyoming_port="off").wyoming_port is None
    assert load_config(file, wyoming_port="10300").wyoming_port == 10_300


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("prot = 1", "prot"),
        ("port = 'x'", "port"),
        ("[limits]\nqeue = 1", "limits.qeue"),
        ("port = 70000", "port"),
        ("wyoming_port = 0", "wyoming_port"),
    ],
)
def test_a_wrong_setting_is_named(text: str, key: str, tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert refused.value.field == key


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("host = '0.0.0.0'", "host"),
        ("host = '192.168.1.2'", "host"),
        ("host = '::'", "host"),
        ("keys = ['']", "keys"),
        ("host = '0.0.0.0'\nkeys = ['good', '']", "keys"),
        ("keys = 'good'", "keys"),
        ("tls_cert = 'CERT'", "tls_cert"),
        ("tls_key = 'KEY'", "tls_cert"),
        ("tls_cert = 'none.pem'\ntls_key = 'KEY'", "tls_cert"),
        ("tls_cert = 'CERT'\ntls_key = 'none.pem'", "tls_key"),
    ],
)
def test_a_door_left_open_or_without_its_key_is_named(text: str, field: str, tmp_path: Path) -> None:
    for name in ("CERT", "KEY"):
        (tmp_path / name).write_text("")
        text = text.replace(name, str(tmp_path / name))
    file = tmp_path / "server.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(file)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        "host = 'localhost'",
        "host = '::1'",
        "host = '0.0.0.0'\nkeys = ['good']",
        "host = '0.0.0.0'\ninsecure = true",
        "tls_cert = 'CERT'\ntls_key = 'KEY'",
    ],
)
def test_a_door_that_is_meant_to_be_open_may_be(text: str, tmp_path: Path) -> None:
    for name in ("CERT", "KEY"):
        (tmp_path / name).write_text("")
        text = text.replace(name, str(tmp_path / name))
    file = tmp_path / "server.toml"
    file.write_text(text)
    load_config(file)


def test_keys_and_origins_come_from_flags_and_environment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text("keys = ['from file']\norigins = ['https://a.example']\n[voices]\nanna = 'slt'\n")
    assert load_config(file).voices == {"anna": "slt"}
    monkeypatch.setenv("STREAM_SERVER_KEYS", '["from environment"]')
    assert load_config(file).keys == ("from environment",)
    config = load_config(file, keys=("from", "flags"), host="0.0.0.0")
    assert (config.keys, config.origins, config.host) == (("from", "flags"), ("https://a.example",), "0.0.0.0")


def test_a_checkpoint_s_numbers_are_chosen_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.toml"
    file.write_text("[dtype]\nlm = 'bf16'\n")
    assert load_config(file).dtype == {"lm": "bf16"}
    file.write_text("dtype = 'lm=bf16, flow=fp32'\n")
    assert load_config(file).dtype == {"lm": "bf16", "flow": "fp32"}
    monkeypatch.setenv("STREAM_SERVER_DTYPE", "lm=fp16")
    assert load_config(file).dtype == {"lm": "fp16"}
    assert load_config(file, dtype="flow=fp32").dtype == {"flow": "fp32"}
    with pytest.raises(ConfigError) as refused:
        load_config(file, dtype="lm=fp64")
    assert refused.value.field == "dtype.lm"
