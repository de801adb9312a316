"""Notifications: rules choose events, and a process for each delivers them by Apprise."""
