"""What the tests stand on: servers, their installation, faults, and the report of layers."""
