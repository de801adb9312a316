"""MQTT: messages and states at a broker, sensors for Home Assistant, and what a fleet needs to know of a device."""
