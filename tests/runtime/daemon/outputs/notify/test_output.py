"""The output as a whole: rules, clips, services, and the daemon around it."""

import pytest

from htsat_edge.runtime.commands.check import check
from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import ClipsConfig, DaemonConfig, OutputsConfig
from htsat_edge.runtime.daemon.config.notify import NotificationRuleConfig
from htsat_edge.runtime.daemon.loop import Daemon
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.outputs import sender
from htsat_edge.runtime.daemon.outputs.notify import output as output_module
from htsat_edge.runtime.daemon.outputs.notify.decider import NotificationDecider
from htsat_edge.runtime.daemon.outputs.notify.history import EventHistory
from htsat_edge.runtime.daemon.outputs.notify.output import NotifyOutput, make_notifier, names_here, score_needed
from htsat_edge.runtime.daemon.outputs.notify.service import NotificationService
from htsat_edge.runtime.daemon.settings import settings_of
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle
from htsat_edge.runtime.models.levels import ClassLevels, LevelThreshold, SensitivityLevels
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

pytest.importorskip("apprise")
TIME = "2026-05-04T22:14:03.250+00:00"
NAMES = {"device": "barn-1", "place": "Barn"}


@pytest.fixture
def notify(make_config, monkeypatch, tmp_path):
    """Starts what notifies a service `phone` at an address by these rules; returns it with the service."""
    opened = []

    def begin(url, *rules, **clips):
        monkeypatch.setenv("URL_phone", url)
        config = make_config(*rules)
        phone = NotificationService("phone", config.services["phone"])
        decider = NotificationDecider(config, lambda *_: 0.0, EventHistory())
        notifier = NotifyOutput({"phone": phone}, decider, NAMES, ClipsConfig(folder=tmp_path, **clips))
        opened.extend([phone, notifier])
        phone.start()
        notifier.start()
        return notifier, phone

    yield begin
    monkeypatch.setattr(sender, "CLOSE_S", 0.2)  # nobody waits for one that hangs
    for output in reversed(opened):
        output.close()


def save(folder, start):
    (folder / start.clip).write_bytes(b"fLaC")
    return SavedClip(start.source, start.id, start.clip, 0.0, 1.0, None)


def test_names_stand_for_what_they_name(ntfy, notify, start, wait_for):
    text = "{label}|{source}|{time}|{date}|{score}|{device}|{place}"
    notifier, phone = notify(ntfy.url(), {"title": "{label} {{", "text": text, "cooldown_s": 0})
    notifier.offer(start("Dog\n{place}", time=TIME, score=0.126))
    notifier.offer(start(id=2))
    wait_for(lambda: phone.sent == 2)
    (first, second) = ntfy.got
    assert first["title"] == "Dog\\n{place} {"
    assert first["message"].startswith("Dog\\n{place}|yard|")
    assert first["message"].endswith("|0.13|barn-1|Barn")
    assert second["message"] == "Dog|yard|at an unknown time|on an unknown day|0.50|barn-1|Barn"


def test_a_burst_of_a_thousand_events_is_one_notification_of_each_source_and_class(
    ntfy, notify, start, ended, wait_for
):
    notifier, phone = notify(ntfy.url())
    for number in range(1, 501):
        for event in (one := start("Dog" if number % 2 else "Cat", id=number)), ended(one):
            notifier.offer(event)
    wait_for(lambda: notifier.sent == 1000)
    wait_for(lambda: phone.sent == 2)
    assert sorted(got["title"] for got in ntfy.got) == ["Cat", "Dog"]
    assert (notifier.dropped, phone.dropped, phone.waiting) == (0, 0, 0)


def test_a_hanging_service_delays_no_decision_and_loses_no_message(hanging, notify, start, wait_for):
    """What is more than its queue holds is lost, counted and reported; the daemon's thread never waits."""
    notifier, phone = notify(f"json://127.0.0.1:{hanging}", {"cooldown_s": 0})
    for number in range(1, 301):
        notifier.offer(start(id=number))
    wait_for(lambda: notifier.sent == 300)
    wait_for(lambda: phone.waiting >= 99)  # one may be in hand
    assert (notifier.dropped, phone.sent) == (0, 0)
    assert phone.dropped >= 199
    assert next(phone.notices()) == "is 100 items behind, and loses some"


def test_the_clip_is_waited_for(ntfy, notify, start, wait_for, tmp_path):
    notifier, phone = notify(ntfy.url(), {"clip": True})
    event = start(clip="dog.flac")
    notifier.offer(event)
    notifier.record(RemovedClip("dog.flac"))
    wait_for(lambda: notifier.sent == 1)
    assert (phone.waiting, ntfy.got) == (0, [])
    notifier.record(save(tmp_path, event))
    wait_for(lambda: phone.sent)
    assert [(got["filename"], got["message"]) for got in ntfy.got] == [("dog.flac", "Dog at yard, at an unknown time")]


NO_CLIP = "Dog at yard, at an unknown time\n(its clip is not attached)"


def test_without_its_clip_in_time_it_says_so(ntfy, notify, start, ended, wait_for, monkeypatch):
    """The clip was lost: so long after the end of its event, nobody waits for it any more."""
    monkeypatch.setattr(output_module, "PATIENCE_S", 0.0)
    notifier, phone = notify(ntfy.url(), {"clip": True}, post_roll_s=0)
    event = start(clip="dog.flac")
    notifier.offer(event)
    wait_for(lambda: notifier.sent == 1)
    assert phone.waiting == 0
    notifier.offer(ended(event))
    wait_for(lambda: phone.sent)
    assert [got["message"] for got in ntfy.got] == [NO_CLIP]


def test_what_has_no_clip_waits_for_none(ntfy, notify, start, wait_for):
    notifier, phone = notify(ntfy.url(), {"clip": True})
    notifier.offer(start())
    wait_for(lambda: phone.sent)
    assert [got["message"] for got in ntfy.got] == [NO_CLIP]


def test_at_the_end_what_waits_is_sent_without(ntfy, notify, start):
    """In the order in which the daemon ends its outputs: all at once, the services before what gives to them."""
    notifier, phone = notify(ntfy.url(), {"clip": True})
    notifier.offer(start(clip="dog.flac"))
    phone.end()
    notifier.end()
    notifier.close()
    phone.close()
    assert [got["message"] for got in ntfy.got] == [NO_CLIP]
    assert phone.undelivered == 0


def make(tmp_path, url, monkeypatch, **more):
    """A configuration of the daemon with notifications, and clips."""
    monkeypatch.setenv("URL_phone", url)
    notify = {"services": {"phone": {"url": {"env": "URL_phone"}}}, "rules": [{"labels": ["Cow"], "cooldown_s": 1e6}]}
    outputs = {"stdout": False, "clips": {"folder": tmp_path / "clips"}, "notify": notify, **more}
    return {"model": {"backend": "onnxruntime"}, "outputs": outputs}


def test_the_daemon_notifies_of_what_it_hears(ntfy, tmp_path, farmyard, monkeypatch):
    config = make(tmp_path, ntfy.url(), monkeypatch)
    labels = load_bundle(BUNDLED).info.labels
    config["outputs"]["notify"]["rules"] = [{"clip": True, "cooldown_s": 1e6, "text": "{label}"}]
    config["sources"] = [{"name": "yard", "file": farmyard}]
    parts = assemble(DaemonConfig.model_validate(config))
    names = [sender.name for sender in parts.publisher.senders]
    assert names[:2] == ["notify phone", "notify"]
    Daemon(parts, Notifier()).run()
    said = [got["message"] for got in ntfy.got]
    assert said
    assert len(set(said)) == len(said)
    assert {one.split("\n")[0] for one in said} <= {*labels}
    assert any("file" in got for got in ntfy.got)


def test_check_has_a_line_for_each_service(ntfy, tmp_path, farmyard, monkeypatch):
    config = make(tmp_path, ntfy.url(), monkeypatch)
    config["outputs"]["notify"]["rules"] = [{}]
    config["outputs"]["notify"]["services"]["mail"] = {"url": {"env": "NOT_THERE"}}
    config["sources"] = [{"name": "yard", "file": farmyard}]
    found = {result.name: (result.ok, result.text) for result in check(DaemonConfig.model_validate(config))}
    assert found["notify phone"] == (True, "ntfy, 127.0.0.1 answers")
    assert found["notify mail"] == (False, "the environment has no NOT_THERE, which must hold a secret")
    assert ntfy.got == []


def test_a_level_is_the_models_whatever_is_reported():
    """The user's own thresholds are those of what is reported; a class that was not measured has one at each level."""
    levels = {
        name: LevelThreshold(threshold=threshold, false_alarms_per_h=0, at_most_per_h=1)
        for name, threshold in (("few_false_alarms", 0.8), ("balanced", 0.4), ("miss_little", 0.2))
    }
    info = load_bundle(BUNDLED).info
    dog = SensitivityLevels(material="x", hours=1, classes={"Dog": ClassLevels(**levels)})
    info = info.model_copy(update={"levels": dog})
    needed = score_needed(info, {"yard": Settings(threshold=0.1, thresholds={"Dog": 0.05})})
    rules = {
        level: NotificationRuleConfig.model_validate({"sensitivity": level, "min_score": 0.3})
        for level in ("few_false_alarms", "miss_little")
    }
    assert needed(rules["few_false_alarms"], "yard", "Dog") == pytest.approx(0.8)
    assert needed(rules["miss_little"], "yard", "Dog") == pytest.approx(0.3)
    other = next(label for label in info.labels if label != "Dog")
    assert needed(rules["few_false_alarms"], "yard", other) == pytest.approx(max(0.3, info.threshold_of(other)))
    assert needed(rules["few_false_alarms"], "yard", "Loud sound") == pytest.approx(0.3)
    assert needed(NotificationRuleConfig(), "yard", "Dog") == 0


def test_a_device_has_the_name_and_the_place_that_mqtt_has():
    outputs = OutputsConfig.model_validate({"mqtt": {"host": "a", "device": "barn-1", "place": "Barn"}})
    assert names_here(outputs) == NAMES
    plain = OutputsConfig()
    assert names_here(plain)["device"]
    assert names_here(plain)["place"] == ""


def test_nobody_is_notified_where_nothing_says_so():
    config = DaemonConfig()
    info = load_bundle(BUNDLED).info
    assert make_notifier(config, info, {"microphone": settings_of("microphone", info, config)}) == []
