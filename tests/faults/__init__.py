"""Faults put into the real product: processes killed, disks full, files and messages damaged."""
