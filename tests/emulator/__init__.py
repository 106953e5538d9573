"""An emulated AWS account on 127.0.0.1: moto's server plus the resource types that it lacks.

It shows that a template is complete, that its references resolve, and that the services accept the
parameters. It shows nothing about permissions, TLS and networks: tests assert those on the
template.
"""
