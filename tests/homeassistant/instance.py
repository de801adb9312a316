"""Run Home Assistant's own core with its MQTT integration, and say what it sees; by a Python that has `homeassistant`.

It gets the port of a broker and a folder, which keeps its registries over a restart, and answers JSON lines on stdin:
`["look"]` with its states, registries and warnings, `["call", DOMAIN, SERVICE, DATA]` when the service has run,
`["rename", ENTITY, ENTITY]` when people have done so.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from homeassistant import bootstrap, loader
from homeassistant.config_entries import ConfigEntries, ConfigEntry, ConfigEntryState
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.helpers import device_registry, entity_registry
from homeassistant.setup import async_setup_component


class Warnings(logging.Handler):
    """Keeps what is wrong."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        if record.name == "homeassistant.helpers.frame":  # of its own use of itself
            return
        self.lines.append(f"{record.name}: {record.getMessage()}")


async def start(folder, port):
    """Start the core, and connect it to the broker."""
    Path(folder, "configuration.yaml").touch()
    home = HomeAssistant(folder)
    home.config.skip_pip = True
    loader.async_setup(home)
    home.config_entries = ConfigEntries(home, {})
    await bootstrap.async_load_base_functionality(home)
    # What the integration wants is there for its dialogues only, and would listen on a port.
    home.config.components.update({"http", "file_upload"})
    assert await async_setup_component(home, "homeassistant", {})
    entry = ConfigEntry(
        data={"broker": "127.0.0.1", "port": port},
        options={},
        domain="mqtt",
        title="broker",
        version=1,
        minor_version=2,
        source="user",
        unique_id=None,
        entry_id="mqtt",
        discovery_keys={},
        subentries_data=[],
    )
    if home.config_entries.async_get_entry("mqtt") is None:
        await home.config_entries.async_add(entry)
    else:
        await home.config_entries.async_setup("mqtt")
    home.set_state(CoreState.running)
    home.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    assert home.config_entries.async_get_entry("mqtt").state is ConfigEntryState.LOADED
    return home


def look(home, warnings):
    """Return what there is."""
    devices = {
        next(iter(device.identifiers))[1]: {
            "name": device.name,
            "sw_version": device.sw_version,
            "area": device.area_id,
            "via": device.via_device_id,
            "id": device.id,
        }
        for device in device_registry.async_get(home).devices.values()
    }
    entities = {entity.unique_id: entity.entity_id for entity in entity_registry.async_get(home).entities.values()}
    states = {
        state.entity_id: {"state": state.state, "attributes": state.as_dict()["attributes"]}
        for state in home.states.async_all()
    }
    return {"devices": devices, "entities": entities, "states": states, "warnings": warnings.lines}


async def serve(folder, port):
    """Answer what is asked, until nobody asks any more."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    home = await start(folder, port)
    lines = asyncio.StreamReader(limit=2**20)
    await home.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print(json.dumps("started"), flush=True)
    async for line in lines:
        match json.loads(line):
            case ["look"]:
                answer = look(home, warnings)
            case ["rename", old, new]:
                answer = entity_registry.async_get(home).async_update_entity(old, new_entity_id=new).entity_id
            case ["call", domain, service, data]:
                answer = await home.services.async_call(domain, service, data, blocking=True)
        print(json.dumps(answer, default=str), flush=True)
    await home.async_stop(force=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
