"""The environment variables that a worker gets: what the stack needs, and what the project declares; never a secret
that nobody asked for.

Code of a project runs in workers. Your shell may hold tokens of a cloud, a hub or a tracker, and a stranger's `map`
needs none of them. A fetch runs our code only, and gets what its scheme is known to need.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_NAMES = frozenset(
    """PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM COLUMNS TMPDIR TMP TEMP LD_LIBRARY_PATH LD_PRELOAD
    DYLD_LIBRARY_PATH VIRTUAL_ENV CC CXX CPATH LIBRARY_PATH XDG_CACHE_HOME XDG_RUNTIME_DIR SSL_CERT_FILE SSL_CERT_DIR
    REQUESTS_CA_BUNDLE CURL_CA_BUNDLE SOURCE_DATE_EPOCH RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR
    MASTER_PORT TUNEKIT_STORE TUNEKIT_CONFIG TUNEKIT_MIN_FREE""".split()  # noqa: SIM905
)
# of one library or device each; a name that tells of a secret is left out all the same (`VLLM_API_KEY`)
_FAMILIES = tuple(
    """LC_ PYTHON CONDA_ CUDA_ CUDNN_ CUBLAS_ NVIDIA_ ROCM_ ROCR_ HIP_ HSA_ NCCL_ RCCL_ GLOO_ UCX_ OMP_ GOMP_ KMP_ MKL_
    OPENBLAS_ NUMEXPR_ RAYON_ MALLOC_ TORCH_ TORCHINDUCTOR_ PYTORCH_ TRITON_ TRANSFORMERS_ TOKENIZERS_ ACCELERATE_
    DEEPSPEED_ DS_ VLLM_ LIGER_ FLASH_ATTENTION_ ARROW_ SLURM_ COVERAGE_""".split()  # noqa: SIM905
)
_SECRET = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PWD|KEY|KEYS|CREDENTIALS?|AUTH|COOKIE|DSN)(_|\Z)", re.IGNORECASE
)
# the URL of a proxy may have a password in it
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY", "NETRC", "TUNEKIT_PLAIN_HTTP")
# what a fetch of a scheme may be configured with, secrets included: exact names, or beginnings that end in `_`
_OF_SCHEME: dict[str, tuple[str, ...]] = {
    "path": (),
    "hf": ("HF_", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_"),
    "pypi": ("PIP_", "UV_", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"),
    "npm": ("NPM_", "NODE_EXTRA_CA_CERTS", "XDG_CONFIG_HOME"),
    "git": ("GIT_", "SSH_", "GCM_", "KRB5CCNAME", "XDG_CONFIG_HOME"),
    "https": (),
    "s3": ("AWS_", "FSSPEC_"),
    "gs": ("GOOGLE_", "GCS_", "GCLOUD_", "STORAGE_EMULATOR_HOST", "FSSPEC_"),
    "az": ("AZURE_", "FSSPEC_"),
    "oci": ("OCI_", "FSSPEC_"),
    "oss": ("OSS_", "FSSPEC_"),
    "hdfs": ("HADOOP_", "KRB5_", "KRB5CCNAME", "CLASSPATH", "JAVA_HOME", "ARROW_LIBHDFS_DIR", "FSSPEC_"),
    "ssh": ("SSH_", "FSSPEC_"),
}
_FSSPEC = ("FSSPEC_",)  # of its other drivers: what is not set by a file is declared
_ALIAS = {
    "gcs": "gs", "s3a": "s3", "abfs": "az", "abfss": "az", "adl": "az", "sftp": "ssh", "http": "https",
    "webhdfs": "hdfs",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def allowed(environ: Mapping[str, str]) -> dict[str, str]:
    """What every worker gets."""
    return {k: v for k, v in environ.items() if k in _NAMES or (k.startswith(_FAMILIES) and not _SECRET.search(k))}


def of_action(environ: Mapping[str, str], source: str, declared: Iterable[str]) -> dict[str, str]:
    """What one action gets besides: the names that `[project] pass_env` declares, as far as they are set, or, where it
    fetches `source`, what that scheme is configured with."""
    found = {name: environ[name] for name in declared if name in environ}
    if not source:
        return found
    scheme = source.partition(":")[0]
    wanted = _OF_SCHEME.get(_ALIAS.get(scheme, scheme), _FSSPEC)
    for name, value in environ.items():
        upper = name.upper()  # proxies and npm's settings are written in either case
        if (upper in _NETWORK and scheme != "path") or _fits(upper, wanted):
            found[name] = value
    return found


def _fits(name: str, wanted: tuple[str, ...]) -> bool:
    return any(name.startswith(w) if w.endswith("_") else name == w for w in wanted)


def missed(error: BaseException, environ: Mapping[str, str]) -> str:
    """The variable that an error (or what it came from) is about, if it looks like one that was not handed on:
    `os.environ["WANDB_API_KEY"]` raises KeyError."""
    seen: set[int] = set()
    stack: list[BaseException | None] = [error]
    while stack:
        e = stack.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        name = e.args[0] if isinstance(e, KeyError) and e.args else ""
        if isinstance(name, str) and re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name) and name not in environ:
            return name
        stack += [e.__cause__, e.__context__]
    return ""
