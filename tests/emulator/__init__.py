"""An AWS account on 127.0.0.1: moto's server, and the resources that its CloudFormation lacks.

It shows that a template is whole, that its references resolve, and that the services take what they
are given. It shows nothing of rights, TLS and networks: those are asserted on the template.
"""
