"""Every option of the service, in one class. The environment sets them (TRACECODE_LISTEN, ...)."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:3505", "[::1]:3505" or "localhost:3505"; `localhost` is 127.0.0.1.

    Raises ValueError, with a sentence, for anything else and for a host that other machines can reach.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(
            f"{address!r} is not host:port; write for example 127.0.0.1:3505 (port 0 = any free)"
        )
    # The name is resolved here and not by the system, where a line in /etc/hosts could make it public.
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError(f"{address!r} needs a numeric host; write for example 127.0.0.1:{port}") from None
    if not loopback:
        raise ValueError(
            f"{address!r} can be reached from other machines, and this service speaks no TLS yet; "
            f"bind 127.0.0.1:{port} and put a proxy that speaks TLS in front of it"
        )
    return host, int(port)


class Settings(BaseSettings):
    """What an operator may decide. Values are checked here, so that nothing below has to ask again."""

    model_config = SettingsConfigDict(env_prefix="TRACECODE_", frozen=True, extra="forbid")

    data_directory: Path | None = Field(
        None, description="Directory of the ledger; made if it does not exist. Needed by the engine lmdb."
    )
    engine: Literal["lmdb", "memory"] = Field(
        "lmdb", description="lmdb keeps the journal on disk; memory forgets everything at the end."
    )
    person_key_file: Path | None = Field(
        None,
        description="Key by which person tokens are hashed, 64 hex digits; made if there is none, readable "
        "by its owner only, and kept outside the data directory. Default: beside it, DIRECTORY.person-key.",
    )
    rule_base_file: Path | None = Field(
        None,
        description="Rule base (TOML), put in force at start and whenever the file changes; without it the "
        "one in force stays.",
    )
    area_grid_file: Path | None = Field(
        None,
        description="Who answers for which area (CSV: area,owner): gets its new cases. Read at start.",
    )
    proof_key_file: Path | None = Field(
        None,
        description="Key by which the log of the journal is signed, made by `tracecode proof-key new`, "
        "outside the data directory. Without it no log is kept.",
    )
    proof_directory: Path | None = Field(
        None, description="Folder of the log's files. Default: `proof` in the data directory."
    )
    proof_bundles: bool = Field(
        False,
        description="Writes the entries into the log's folder, too, for auditors who may read what every "
        "institution reported; else the folder holds hashes only.",
    )
    proof_checkpoint_seconds: float = Field(
        1.0, gt=0, description="What is sequenced is published after so long at most."
    )
    proof_checkpoint_entries: int = Field(
        65_536, ge=1, description="... or when so many entries wait for it."
    )
    proof_witnesses_file: Path | None = Field(
        None, description="Verifier keys of the witnesses whose cosignatures are taken, one a line."
    )
    grants_file: Path | None = Field(
        None,
        description="Who may look at which divisions (TOML, see docs/history.md), read again whenever it "
        "changes; without it nobody is shown histories of HistoryService.",
    )
    listen: str = Field(
        "127.0.0.1:3505", description="Address of the gRPC service; loopback only, port 0 = any free port."
    )
    edges: int = Field(
        1,
        ge=1,
        le=16,
        description="Processes that speak gRPC on the one port. 1: one process does all; more stand in front "
        "of the one that has the ledger, each with a core's worth of calls.",
    )
    metrics_listen: str = Field(
        "", description="Address of the Prometheus metrics over HTTP; loopback only, empty = none."
    )
    reflection: bool = Field(True, description="Tells clients on this machine which methods there are.")
    message_bytes_max: int = Field(
        4 * 1024 * 1024, ge=64 * 1024, le=64 * 1024 * 1024, description="Largest message taken."
    )
    connection_calls_max: int = Field(
        64, ge=1, description="Calls open at once on one connection; more wait in the client."
    )
    peer_calls_max: int = Field(
        128,
        ge=1,
        description="Calls of one peer (host) that are being answered; more are RESOURCE_EXHAUSTED.",
    )
    peer_streams_max: int = Field(16, ge=1, description="Streams of one peer (host) open at once.")
    peer_calls_per_second_max: int = Field(
        5000, ge=1, description="Calls one peer (host) may start in a second; a stream is one call."
    )
    peer_bytes_per_second_max: int = Field(
        16 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes of calls that are no streams which one peer (host) may send in a second.",
    )
    consumer_questions_per_second_max: int = Field(
        20, ge=1, description="Questions of consumers that one host, an app's gateway, may ask in a second."
    )
    peer_connections_max: int = Field(
        256, ge=1, description="Connections of one peer (host) open at once, on each edge; more are ended."
    )
    peer_put_out_seconds: float = Field(
        5.0,
        ge=0,
        description="A host that goes on against its limits cannot connect for so long, and for longer when "
        "it does it again; 0 = nobody is put out.",
    )
    stream_documents_max: int = Field(
        2000, ge=1, description="Documents of one stream read but not yet answered."
    )
    stream_bytes_max: int = Field(
        16 * 1024 * 1024, ge=1, description="Bytes of one stream's documents read but not yet answered."
    )
    keepalive_seconds: float = Field(
        30.0, gt=0, description="A connection silent for so long is asked for a sign of life."
    )
    connection_age_max_seconds: float = Field(
        1800.0, gt=0, description="A connection of that age is closed once its calls are answered."
    )
    disk_free_bytes_low: int = Field(
        10 * 2**30, ge=0, description="With less room on the data directory's disk the log and metrics warn."
    )
    disk_free_bytes_min: int = Field(
        512 * 2**20,
        ge=0,
        description="With less room nothing is written; questions are answered on, and it goes on by itself.",
    )
    views: bool = Field(
        True,
        description="Keeps views of the journal (stock, profiles, the finding queue, Parquet files) in a "
        "process that gives way to all others; engine lmdb only.",
    )
    screening_memory: str = Field(
        "2GB",
        pattern=r"^[0-9]+(\.[0-9]+)? ?(MB|GB|MiB|GiB)$",
        description="What a screening may hold in memory; the rest goes to the data directory's disk.",
    )
    report_memory: str = Field(
        "1GB",
        pattern=r"^[0-9]+(\.[0-9]+)? ?(MB|GB|MiB|GiB)$",
        description="What a report may hold in memory; the rest goes to the data directory's disk.",
    )
    screening_spill_bytes_max: int = Field(
        10 * 2**30, gt=0, description="What a screening may take of that disk; with more it fails."
    )
    report_spill_bytes_max: int = Field(
        10 * 2**30, gt=0, description="What a report may take of that disk; with more it fails."
    )
    screening_thresholds_file: Path | None = Field(
        None, description="Numbers that screening compares with (TOML). Default: those that come with it."
    )
    care_homes_file: Path | None = Field(
        None,
        description="Registered homes (CSV: name,person_token as hashed); residents rightly buy together.",
    )
    read_threads: int = Field(4, ge=1, le=64, description="Threads that read histories, documents and stock.")
    drain_seconds: float = Field(
        20.0, ge=0, description="Time that calls have to finish when the service is told to stop."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least grave line of the log that is written."
    )

    @field_validator("listen")
    @classmethod
    def _listen_is_loopback(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("metrics_listen")
    @classmethod
    def _metrics_listen_is_loopback(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @model_validator(mode="after")
    def _engine_has_its_directory(self) -> Settings:
        if self.engine == "lmdb" and self.data_directory is None:
            raise ValueError(
                "the engine lmdb needs a directory: set data_directory (TRACECODE_DATA_DIRECTORY), "
                "or engine=memory to keep nothing"
            )
        if self.engine == "memory" and self.data_directory is not None:
            raise ValueError("the engine memory keeps nothing on disk: leave data_directory out, or use lmdb")
        return self

    @model_validator(mode="after")
    def _proof_key_is_outside(self) -> Settings:
        if self.proof_key_file is None:
            return self
        if self.data_directory is None:
            raise ValueError("a log is kept of a journal on disk: proof_key_file needs data_directory")
        key_file = self.proof_key_file.absolute().resolve()
        for inside in (self.data_directory, self.proof_folder):
            if inside is not None and key_file.is_relative_to(inside.absolute().resolve()):
                raise ValueError(
                    f"{self.proof_key_file} lies in {inside}: whoever copies that would have the key; keep "
                    "it elsewhere"
                )
        return self

    @property
    def proof_folder(self) -> Path | None:
        """The folder of the log, None where none is kept."""
        if self.proof_key_file is None or self.data_directory is None:
            return None
        return self.proof_directory or self.data_directory / "proof"
