"""`pandaprobe.integrations`."""
