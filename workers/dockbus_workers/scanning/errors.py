"""What can go wrong with a scan, beside `ScanFailed` and `MissingTool`."""

from __future__ import annotations

from dockbus.errors import DockbusError


class DatabaseUnavailable(DockbusError):
    """The scanner lacks a database and cannot fetch it.

    Let it reach its registry (DOCKBUS_SCAN_DB_REPOSITORY names another), or put a database in DOCKBUS_SCAN_CACHE_DIR.
    """

    retryable = True


class DatabaseTooOld(DockbusError):
    """The vulnerability database is older than DOCKBUS_SCAN_MAX_DB_AGE allows, so nothing was scanned with it.

    Update it: `dockbus scan --update-database`, best by a schedule.
    """

    retryable = True


class ScannerCrashed(DockbusError):
    """The scanner was killed.

    Its host's kernel log tells whether memory ran out there.
    """

    retryable = True


class VexInvalid(DockbusError):
    """That is no OpenVEX document, so nothing was judged by it.

    Correct it; `@context` must name OpenVEX, and each statement needs a vulnerability, products and a status.
    """


class ScanRequired(DockbusError):
    """The image has not passed the scan that the job requires, so it was not started.

    Use an image that passes, or correct `require_scan`; `dockbus scan IMAGE` lists what was found.
    """
