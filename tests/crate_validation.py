"""``python crate_validation.py CRATE CONTEXT``: judge a crate by roc-validator, in an environment that has it.

The context of RO-Crate is taken from a local copy, as the ``rocrate`` package brings it, so that no network is needed.
Prints one JSON object: ``required`` and ``recommended`` with the messages of each severity.
"""

import json
import sys
from pathlib import Path

import requests
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from rocrate_validator.utils.http import HttpRequester

CONTEXTS = "https://w3id.org/ro/crate/"


def serve(content: bytes) -> None:
    """Answer requests for the context of RO-Crate with ``content``."""

    def get(self, url, *arguments, **more):
        if not url.startswith(CONTEXTS):
            return self.__getattr__("get")(url, *arguments, **more)
        response = requests.Response()
        response.status_code, response._content, response.url = 200, content, url
        response.headers["Content-Type"] = "application/ld+json"
        return response

    HttpRequester.get = get


def main() -> None:
    """Validate and print."""
    serve(Path(sys.argv[2]).read_bytes())
    settings = ValidationSettings(
        rocrate_uri=sys.argv[1], profile_identifier="process-run-crate", requirement_severity=Severity.RECOMMENDED
    )
    found = {"required": [], "recommended": []}
    for issue in services.validate(settings).get_issues():
        severity = "required" if issue.severity >= Severity.REQUIRED else "recommended"
        found[severity].append(str(issue.message))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
