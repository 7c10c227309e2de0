"""Base of all API types (camelCase on the wire, snake_case in Python, frozen) and the types that all kinds share."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from kinema_api import names
from kinema_api.errors import InvalidManifest

MESSAGE_ERROR: Final = "worded"
"""Type of a pydantic error whose message is a complete sentence with a remedy."""

MAX_KEPT_SECONDS: Final = 10 * 366 * 86400

ShortText = Annotated[str, Field(max_length=256)]
LongText = Annotated[str, Field(max_length=4096)]
Uri = Annotated[str, Field(max_length=1024)]
Quantity = int | Annotated[str, Field(max_length=32)]
"""A Kubernetes resource quantity; becomes x-kubernetes-int-or-string."""

SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""A DNS subdomain (RFC 1123), as most Kubernetes names are; it contains no slash, so it is safe in a URL path."""
LABEL_CHARACTERS: Final = r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]"


def cel_rules(*rules: tuple[str, str]) -> dict[str, Any]:
    """`json_schema_extra` with CEL rules as (rule, message): checked by the API server at admission (KEP-2876)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


@dataclass(frozen=True)
class Matches:
    """A pattern with an error message of its own, checked by pydantic and, as a CEL rule, by the API server.

    `pattern` runs in two engines (Rust's and Go's regular expressions), so it uses only the syntax that both support.
    """

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks the pattern after all other constraints, with `message` as the error."""
        matching = core_schema.str_schema(pattern=self.pattern)
        worded = core_schema.custom_error_schema(matching, MESSAGE_ERROR, custom_error_message=self.message)
        return core_schema.chain_schema([handler(source), worded])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Emits the pattern as a CEL rule: the API server's message for a schema `pattern` is only the expression."""
        return {**handler(schema), **cel_rules((f"self.matches({json.dumps(self.pattern)})", self.message))}


@dataclass(frozen=True)
class DoesNotMatch:
    """The opposite of `Matches`: refuses values that match the pattern. Place it after a `Matches`."""

    pattern: str
    message: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks the pattern after all other constraints."""

        def check(value: str) -> str:
            if re.search(self.pattern, value):
                raise PydanticCustomError(MESSAGE_ERROR, "{sentence}", {"sentence": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Adds the pattern to the CEL rules."""
        known = handler(schema)
        rules = cel_rules((f"!self.matches({json.dumps(self.pattern)})", self.message))
        rules["x-kubernetes-validations"][:0] = known.get("x-kubernetes-validations", [])
        return {**known, **rules}


@dataclass(frozen=True)
class KeysMatch:
    """`Matches` for the keys of a map, for which a structural schema has no pattern."""

    pattern: str
    message: str
    rules: tuple[tuple[str, str], ...] = ()
    """More CEL rules on the map."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Checks every key after all other constraints."""

        def check(value: dict[str, Any]) -> dict[str, Any]:
            if not all(re.fullmatch(self.pattern, key) for key in value):
                raise PydanticCustomError(MESSAGE_ERROR, "{sentence}", {"sentence": self.message})
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Emits the pattern as a CEL rule over all keys."""
        keys = (f"self.all(key, key.matches({json.dumps(self.pattern)}))", self.message)
        return {**handler(schema), **cel_rules(keys, *self.rules)}


SecretObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Matches(
        rf"^{SUBDOMAIN}$",
        "a Secret's name holds only lower-case letters, digits, dashes and dots, and begins and ends with a letter or "
        "digit: name a Secret of this namespace",
    ),
]
ResourceName = Annotated[
    str,
    Field(min_length=1, max_length=names.MAX_NAME_LENGTH),
    Matches(
        names.RESOURCE_NAME_PATTERN,
        "a name starts with a letter and holds only lower-case letters, digits and dashes: correct it",
    ),
]
"""Name of a custom resource in the same namespace."""
LabelValue = Annotated[
    str,
    Field(max_length=63),
    Matches(
        rf"^({LABEL_CHARACTERS})?$",
        "a label's value holds only letters, digits, dashes, underscores and dots, and begins and ends with a letter "
        "or digit: correct it",
    ),
]
NodeSelector = Annotated[
    dict[str, LabelValue],
    Field(max_length=16),
    KeysMatch(
        rf"^({SUBDOMAIN}/)?{LABEL_CHARACTERS}$",
        "a label's key is NAME or DOMAIN/NAME, such as topology.kubernetes.io/zone: correct it",
    ),
]
"""Labels that a node must have."""

Digest = Annotated[
    str,
    Field(max_length=71),
    Matches(r"^sha256:[0-9a-f]{64}$", "a digest is sha256: and 64 hexadecimal digits: copy it from a status"),
]
_HOST: Final = r"([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\.)*[A-Za-z]([-A-Za-z0-9]*[A-Za-z0-9])?"
"""A host name. Its last label begins with a letter, so that no notation of an IP address matches."""
_OCTET: Final = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4: Final = rf"({_OCTET}\.){{3}}{_OCTET}"
_PORT: Final = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
Endpoint = Annotated[
    str,
    Field(max_length=512),
    Matches(
        rf"^https?://({_HOST}|{_IPV4}|\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\])(:{_PORT})?$",
        "an endpoint is http://HOST:PORT or https://HOST:PORT, with no path: correct it",
    ),
    DoesNotMatch(
        r"^https?://(169\.254\.|0\.|\[::\]|\[[fF][eE][89abAB])",
        "an endpoint cannot be a metadata service or a link-local address: give the address of an object store",
    ),
]

MAX_CA_BUNDLE: Final = 64 << 10
"""Most characters of a bundle: it is stored in Secrets and passed in environment variables and work orders."""
CaBundle = Annotated[
    str,
    Field(max_length=MAX_CA_BUNDLE),
    Matches(
        r"^[\t\n\r -~]*-----BEGIN CERTIFICATE-----[\t\n\r -,.-~]+-----END CERTIFICATE-----[\t\n\r -~]*$",
        "a caBundle is PEM text of certificates, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----: copy "
        "the certificate of the store's authority whole",
    ),
    DoesNotMatch(
        r"PRIVATE KEY-----",
        "a caBundle holds only certificates and is not kept secret: remove the private key and replace it",
    ),
]
"""CA certificates in PEM."""

SIZE_PATTERN: Final = r"^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$"
ClipSize = Annotated[
    str,
    Field(max_length=9),
    Matches(SIZE_PATTERN, "size is WIDTHxHEIGHT in pixels, each from 1 to 9999: write it like 24x24"),
]


class ApiModel(BaseModel):
    """Base of all API types. Unknown fields are ignored, so that an older process can read newer objects."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready dict in camelCase without nulls: null and absent mean the same."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Like `model_validate`, with one readable sentence on failure.

        Raises:
            InvalidManifest: naming the field and what is wrong with it.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            remedy = "" if first["type"] == MESSAGE_ERROR else "; correct this field and try again"
            where = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise InvalidManifest(f"{where}: {first['msg']}{remedy}") from None


class OwnerReference(ApiModel):
    """The fields of an owner reference that Kinema reads."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(ApiModel):
    """The fields of ObjectMeta that Kinema reads."""

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    owner_references: tuple[OwnerReference, ...] = ()


class Condition(ApiModel):
    """A condition as in Kubernetes' metav1.Condition (KEP-1623)."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=4096)] = ""
    last_transition_time: datetime
    observed_generation: int = 0


Conditions = Annotated[
    tuple[Condition, ...],
    Field(
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


def set_condition(conditions: tuple[Condition, ...], new: Condition) -> tuple[Condition, ...]:
    """`conditions` with `new` replacing the one of its type; lastTransitionTime changes only if the status does."""
    kept = []
    for old in conditions:
        if old.type != new.type:
            kept.append(old)
        elif old.status == new.status:
            new = new.model_copy(update={"last_transition_time": old.last_transition_time})
    return tuple(sorted((*kept, new), key=lambda c: c.type))


def find_condition(conditions: tuple[Condition, ...], type_: str) -> Condition | None:
    """The condition of type `type_`, or None."""
    return next((c for c in conditions if c.type == type_), None)


def utc_now() -> datetime:
    """The current UTC time in whole seconds, the resolution of Kubernetes timestamps."""
    return datetime.now(UTC).replace(microsecond=0)


class SecretName(ApiModel):
    """Reference to a Secret in the same namespace."""

    name: SecretObjectName
    """Name of the Secret."""


CA_WITHOUT_TLS: Final = "caBundle needs an endpoint with https://: change endpoint, or remove caBundle"


class ArtifactStore(ApiModel):
    """An S3-compatible object store."""

    model_config = ConfigDict(
        json_schema_extra=cel_rules(("!has(self.caBundle) || self.endpoint.startsWith('https://')", CA_WITHOUT_TLS))
    )

    endpoint: Endpoint
    """URL that pods use, such as http://minio.kinema-system.svc:9000."""
    public_endpoint: Endpoint | None = None
    """URL that clients outside the cluster use; presigned URLs contain it. Default: endpoint."""
    bucket: Annotated[
        str,
        Field(min_length=3, max_length=63),
        Matches(
            r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
            "a bucket's name holds only lower-case letters, digits, dots and dashes, and begins and ends with a letter "
            "or digit around each dot: correct it",
        ),
        DoesNotMatch(
            r"^([0-9]+\.){3}[0-9]+$|^xn--|^sthree-|^amzn-s3-demo-|-s3alias$|--ol-s3$|\.mrap$|--x-s3$|--table-s3$",
            "a bucket's name is not an IP address and has no prefix or suffix that S3 reserves, such as xn-- and "
            "-s3alias: correct it",
        ),
    ]
    """Name of an existing bucket."""
    region: Annotated[
        str,
        Field(max_length=64),
        Matches(
            r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$",
            "a region holds only letters, digits, dashes and underscores, such as us-east-1: correct it",
        ),
    ] = "us-east-1"
    """Region that requests are signed for."""
    secret_ref: SecretName
    """Secret in the same namespace with the keys accessKey and secretKey."""
    ca_bundle: CaBundle | None = None
    """CA certificates (PEM) to trust for this store in addition to the system's. At most 64 KiB; not a secret; can be
    changed at any time. Default: for the operator's own endpoint the operator's bundle, else none."""

    @model_validator(mode="after")
    def _authority_has_a_use(self) -> Self:
        if self.ca_bundle and not self.endpoint.startswith("https://"):
            raise PydanticCustomError(MESSAGE_ERROR, CA_WITHOUT_TLS)
        return self

    def is_same_place(self, other: ArtifactStore) -> bool:
        """Whether both specify the same store; the CA bundle is not compared."""
        return self.model_copy(update={"ca_bundle": None}) == other.model_copy(update={"ca_bundle": None})


def store_unchanged(field: str) -> str:
    """CEL: the store in `field` is unchanged except for its caBundle, since certificates are renewed."""
    same = []
    for name, info in ArtifactStore.model_fields.items():
        now, before = f"self.{field}.{info.alias}", f"oldSelf.{field}.{info.alias}"
        equal = f"{now} == {before}"
        # Comparing optional values (`.?`) costs more than a CRD may: the API server knows no bound on their length.
        optional = f"has({now}) == has({before}) && (!has({now}) || {equal})"
        if name != "ca_bundle":
            same.append(optional if info.default is None else equal)
    return f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {' && '.join(same)})"
