"""DELETE_AFTER_FLAG. Goal: taking back what was doubted or is old is seen; corrections are not.

Method: a table of deleted documents; the deletion is made at 10d.
"""

import pytest
from scenes import ALERT, INFO, SILENT, WARN, fact, make_document, tell_document, to_seconds, weigh

from tracecode.document import read_document
from tracecode.evidence import DeletedDocument
from tracecode.finding import Finding, FindingType, Severity
from tracecode.rules.delete_after_flag import find

TWICE = (FindingType.DUP_SALE_SAME_ORG,)


def delete(
    kind: str = "sale",
    at: str = "9d",
    worst: Severity | None = None,
    sold_again: bool = False,
    flags: tuple[FindingType, ...] = (FindingType.SWAP_PRODUCT,),
) -> DeletedDocument:
    """A document taken back, with findings of that severity."""
    findings = () if worst is None else tuple(Finding(flag, worst) for flag in flags)
    document = read_document(make_document(kind, at=at))
    return DeletedDocument(7, document, to_seconds(at), findings, sold_again)


@pytest.mark.parametrize(
    ("deleted", "said"),
    [
        pytest.param(delete(), SILENT, id="yesterday's plain sale"),
        pytest.param(delete(worst=Severity.WARN), SILENT, id="a WARN is no doubt"),
        pytest.param(delete(worst=Severity.ALERT), ALERT, id="an ALERT is"),
        pytest.param(delete(worst=Severity.BLOCK), ALERT, id="a BLOCK is"),
        pytest.param(delete(worst=Severity.BLOCK, sold_again=True), SILENT, id="a correction"),
        pytest.param(delete(at="3d"), SILENT, id="at seven days"),
        pytest.param(delete(at="2d"), ALERT, id="after seven days"),
        pytest.param(delete(at="2d", sold_again=True), SILENT, id="an old one corrected"),
        pytest.param(delete("receipt", at="2d"), WARN, id="an old receipt"),
        pytest.param(delete("receipt", at="4d"), SILENT, id="a recent receipt"),
        pytest.param(delete("receipt", worst=Severity.ALERT), ALERT, id="a doubted receipt"),
        pytest.param(delete(worst=Severity.ALERT, flags=TWICE), INFO, id="a box scanned twice"),
        pytest.param(delete(worst=Severity.BLOCK, flags=TWICE), INFO, id="twice, asked before settlement"),
        pytest.param(delete(worst=Severity.ALERT, flags=TWICE, at="8d23h"), ALERT, id="twice, a day ago"),
        pytest.param(
            delete(worst=Severity.ALERT, flags=(*TWICE, FindingType.SWAP_PRODUCT)), ALERT, id="twice and more"
        ),
    ],
)
def test_a_document_taken_back(deleted: DeletedDocument, said: str) -> None:
    """Pins the flag, the seven days, the correction, and that stock papers weigh less."""
    assert weigh(find(tell_document("deletion", at="10d", received="10d", deleted=[deleted]))) == said


def test_each_document_is_judged_by_itself() -> None:
    """Pins that a batch serial that takes back three documents gives a finding for each bad one."""
    deleted = [delete(worst=Severity.BLOCK), delete(), delete(at="1d")]

    findings = find(tell_document("deletion", at="10d", received="10d", deleted=deleted))

    assert weigh(findings) == "ALERT ALERT"
    assert fact(findings[0], "flag") == "SWAP_PRODUCT"
    assert fact(findings[0], "deleted_document") == "SALE"


def test_a_clock_ahead_makes_no_deletion_late() -> None:
    """Pins that an impossible business time of the deletion does not age what it deletes."""
    assert find(tell_document("deletion", at="300d", received="10d", deleted=[delete()])) == ()
