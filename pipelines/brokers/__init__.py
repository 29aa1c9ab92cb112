"""Reads and writes the topics of a message broker: NATS JetStream or Kafka, by its address.

A broker is a module of this package with a function `connect_to`. Only that of the address is imported. A reader begins
after positions that its caller has stored, so what is read once is stored once, whichever broker it is.
"""

from importlib import import_module

from pydantic import SecretStr

from pipelines.brokers.interface import Broker, BrokerUnavailable, Message, MessagesLost, Reader, Received

__all__ = ["Broker", "BrokerUnavailable", "Message", "MessagesLost", "Reader", "Received", "connect"]

MODULES = {"nats": "nats", "tls": "nats", "kafka": "kafka"}  # by the scheme of the address


def connect(address: str | SecretStr) -> Broker:
    """Connect to a broker, such as `nats://host:4222` (with TLS: `tls://host:4222`) or `kafka://host:9092`.

    Hosts are separated by commas. NATS takes `user:password@` or `token@` before the first one; Kafka takes the options
    of librdkafka, such as `kafka://host:9092?security.protocol=SASL_SSL&sasl.mechanism=PLAIN&...`.
    Raises BrokerUnavailable.
    """
    text = address.get_secret_value() if isinstance(address, SecretStr) else address
    module = MODULES[text.partition("://")[0]]
    return import_module(f"pipelines.brokers.{module}").connect_to(text)
