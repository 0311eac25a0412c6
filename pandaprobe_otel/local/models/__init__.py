"""Request bodies and query values, in the order and with the limits of the server's API description."""
