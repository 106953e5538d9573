"""The monitoring stack: alarms, the dashboard, notifications and the budget."""
