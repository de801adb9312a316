"""Many devices in one view: what they publish by MQTT is collected into one store, which the page shows."""
