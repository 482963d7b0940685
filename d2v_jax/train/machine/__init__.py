"""Devices, compiled programs kept between calls, memory."""
