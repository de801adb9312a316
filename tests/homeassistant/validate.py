"""Say of announcements what Home Assistant's own schemas say; by a Python that has `homeassistant`.

It reads lines `{"topic": …, "payload": …}` and prints for each one `null`, or what is wrong.
"""

import asyncio
import importlib
import json
import sys
import tempfile

import voluptuous
from homeassistant.components.mqtt.discovery import (
    TOPIC_MATCHER,
    _merge_common_device_options,
    _replace_all_abbreviations,
)
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
from homeassistant.core import HomeAssistant, valid_entity_id
from homeassistant.helpers import frame

UNKNOWN = {"default_entity_id"}
"""What newer versions know, and this one drops."""


def complain(topic, payload):
    """Return what is wrong with an announcement; None: nothing."""
    match = TOPIC_MATCHER.fullmatch(topic.removeprefix("homeassistant/"))
    if not match or match["component"] != "device" or match["node_id"]:
        return f"topic {topic}"
    config = json.loads(payload)
    _replace_all_abbreviations(config)
    try:
        DEVICE_DISCOVERY_SCHEMA(config)
        for key, component in config["components"].items():
            if not TOPIC_MATCHER.fullmatch(f"sensor/{match['object_id']}/{key}/config"):
                return f"key {key}"
            platform = component.pop("platform")
            if not component:
                continue
            entity = component.get("default_entity_id")
            if not valid_entity_id(entity) or not entity.startswith(f"{platform}."):
                return f"{key}: {entity} is no id of an entity"
            component |= {"device": config["device"], "origin": config["origin"]}
            _merge_common_device_options(component, config)
            schema = importlib.import_module(f"homeassistant.components.mqtt.{platform}").DISCOVERY_SCHEMA
            if more := component.keys() - schema(component).keys() - UNKNOWN:
                return f"{key}: is not known: {', '.join(more)}"
    except voluptuous.Invalid as error:
        return str(error)
    return None


async def answer(folder):
    """Answer in a loop of Home Assistant's, which templates need."""
    home = HomeAssistant(folder)
    frame.async_setup(home)
    for line in sys.stdin:
        print(json.dumps(complain(**json.loads(line))), flush=True)
    await home.async_stop(force=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(answer(folder))
