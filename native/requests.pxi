# Requests to record: from the bytes of a RecordDocumentsRequest to the documents in it, without protobuf's
# objects. Taken are only messages in the form in which tracecode/ledger.py would write each document again,
# after it has hidden the persons: then the bytes of the document in the message, but for the tokens, are
# what is to be kept.

cdef enum:
    # Field numbers of proto/tracecode/v1/ledger_service.proto and document.proto.
    REQUESTS = 1
    REQUEST_DOCUMENT = 1
    REQUEST_ID = 2
    DOCUMENT_LINES = 4
    DOCUMENT_OPERATOR = 6
    LINE_SCANS = 3
    SALE_PERSON = 6
    SALE_PRESCRIBER = 8
    SALE_PHARMACIST = 10

cdef WireField WIRE_REQUESTS[WIRE_FIELDS_MAX]
cdef WireField WIRE_REQUEST[WIRE_FIELDS_MAX]

wire_declare(WIRE_REQUESTS, {REQUESTS: (WIRE_REPEATED, 0)})
wire_declare(WIRE_REQUEST, {REQUEST_DOCUMENT: (WIRE_PART, 0), REQUEST_ID: (WIRE_TEXT, 64)})


def read_requests(bytes message not None, int kind, hide not None):
    """The serialized documents of a serialized RecordDocumentsRequest, with every person token replaced by
    `hide(token)`, and their request_ids; or None if one of them is not a sale or receipt in the form that
    every encoder writes, or not of the `kind` (a DocumentKind, 0 = both) asked for."""
    cdef vector[string_view] requests, lines, scans
    cdef WireMessage fields
    cdef size_t i
    cdef list documents = []
    cdef list request_ids = []
    if not wire_read(view_of(message), WIRE_REQUESTS, &fields, &requests):
        return None
    for i in range(requests.size()):
        if not wire_read(requests[i], WIRE_REQUEST, &fields, NULL):
            return None
        document = read_request(fields.texts[REQUEST_DOCUMENT], kind, hide, &lines, &scans)
        if document is None:
            return None
        documents.append(document)
        request_id = fields.texts[REQUEST_ID]
        request_ids.append(bytes_of(request_id).decode() if request_id.size() else "")
    return documents, request_ids


cdef read_request(
    string_view message, int kind, hide, vector[string_view] *lines, vector[string_view] *scans
):
    """One document with its persons hidden, or None."""
    cdef WireMessage document, content, part
    cdef string_view whole
    cdef string hidden, rebuilt
    cdef size_t i, k
    cdef int number
    lines.clear()
    if not wire_read(message, WIRE_DOCUMENT, &document, lines):
        return None
    cdef bint is_sale = document.seen >> DOCUMENT_SALE & 1
    cdef bint is_receipt = document.seen >> DOCUMENT_RECEIPT & 1
    if is_sale == is_receipt or kind not in (0, KIND_SALE if is_sale else KIND_RECEIPT):
        return None
    if document.seen >> DOCUMENT_TIME & 1:
        if not wire_read(document.texts[DOCUMENT_TIME], WIRE_TIMESTAMP, &part, NULL):
            return None
    for i in range(lines.size()):
        scans.clear()
        if not wire_read(lines[0][i], WIRE_LINE, &part, scans):
            return None
        for k in range(scans.size()):
            if not wire_is_text(scans[0][k], False):
                return None
    if is_receipt:
        if not wire_read(document.texts[DOCUMENT_RECEIPT], WIRE_RECEIPT, &content, NULL):
            return None
        if document.texts[DOCUMENT_OPERATOR].size() == 0:
            return bytes_of(message)
    elif not wire_read(document.texts[DOCUMENT_SALE], WIRE_SALE, &content, NULL):
        return None
    elif (
        content.texts[SALE_PERSON].size() == 0
        and content.texts[SALE_PRESCRIBER].size() == 0
        and content.texts[SALE_PHARMACIST].size() == 0
        and document.texts[DOCUMENT_OPERATOR].size() == 0
    ):
        return bytes_of(message)
    # The operator stands before what a document is about, in the order of numbers.
    whole = message
    if document.texts[DOCUMENT_OPERATOR].size() != 0:
        hide_text(&rebuilt, &whole, DOCUMENT_OPERATOR, document.texts[DOCUMENT_OPERATOR], hide)
    if is_sale:
        whole_sale = document.texts[DOCUMENT_SALE]
        for number in (SALE_PERSON, SALE_PRESCRIBER, SALE_PHARMACIST):
            if content.texts[number].size() != 0:
                hide_text(&hidden, &whole_sale, number, content.texts[number], hide)
        hidden.append(whole_sale.data(), whole_sale.size())
        cut(&rebuilt, &whole, DOCUMENT_SALE, document.texts[DOCUMENT_SALE])
        wire_append_text(&rebuilt, DOCUMENT_SALE, view_of_string(hidden))
    rebuilt.append(whole.data(), whole.size())
    return bytes_of(view_of_string(rebuilt))


cdef int hide_text(string *out, string_view *rest, int number, string_view token, hide) except -1:
    """Copy `rest` up to the field of a token, the hidden token in its place; `rest` is then what follows."""
    cdef bytes hidden = hide(bytes_of(token).decode()).encode()
    cut(out, rest, number, token)
    wire_append_text(out, number, view_of(hidden))
    return 0


cdef void cut(string *out, string_view *rest, int number, string_view field) noexcept:
    """Copy `rest` up to a field, whose content lies in it, and go behind it."""
    cdef string head
    cdef const char *end = rest.data() + rest.size()
    wire_append_varint(&head, <uint64_t> number << 3 | 2)
    wire_append_varint(&head, field.size())
    out.append(rest.data(), <size_t> (field.data() - rest.data()) - head.size())
    rest[0] = string_view(field.data() + field.size(), <size_t> (end - field.data()) - field.size())


# Entries of the journal that were cleared, to be applied again.

cdef enum:
    # Field numbers of proto/tracecode/v1/journal.proto.
    ENTRY_SEQUENCE = 1
    ENTRY_RECEIVE_TIME = 2
    ENTRY_DOCUMENT = 3
    ENTRY_DOCUMENT_BYTES = 1
    ENTRY_REQUEST_ID = 2
    ENTRY_PREVIOUS = 6
    ENTRY_CLEARED = 7

cdef WireField WIRE_ENTRY[WIRE_FIELDS_MAX]
cdef WireField WIRE_DOCUMENT_ENTRY[WIRE_FIELDS_MAX]

wire_declare(WIRE_ENTRY, {1: (WIRE_TIME, 0), 2: (WIRE_TIME, 0), 3: (WIRE_PART, 0)})
wire_declare(WIRE_DOCUMENT_ENTRY, {
    1: (WIRE_PART, 0), 2: (WIRE_TEXT, 64), 3: (WIRE_NUMBER, 0), 4: (WIRE_REPEATED, 0),
    5: (WIRE_LABEL, KEPT_BYTES_MAX), 6: (WIRE_PART, 0), 7: (WIRE_FLAG, 0),
})


cdef bint read_cleared(
    string_view entry, uint64_t sequence, Candidate *candidate, vector[string_view] *findings
) noexcept nogil:
    """The document of an entry, if it was cleared; its findings are what they were then."""
    cdef WireMessage fields, document
    if not wire_read(entry, WIRE_ENTRY, &fields, NULL):
        return False
    if fields.numbers[ENTRY_SEQUENCE] != sequence:
        return False
    if not wire_read(fields.texts[ENTRY_DOCUMENT], WIRE_DOCUMENT_ENTRY, &document, findings):
        return False
    candidate.document = document.texts[ENTRY_DOCUMENT_BYTES]
    candidate.request_id = document.texts[ENTRY_REQUEST_ID]
    candidate.receive_time_ns = <int64_t> fields.numbers[ENTRY_RECEIVE_TIME]
    return document.numbers[ENTRY_CLEARED]


def cut_entry(bytes entry not None, bytes key not None):
    """What an entry that was cleared says of one code: the entry with only the line that names it, on which
    only that scan is left, and with only that code's predecessor; and the line's place (from 0). None if no
    line names it, or the entry was not cleared."""
    cdef vector[string_view] findings
    cdef WireMessage fields, document
    cdef string_view previous
    cdef string cut, content, kept, rebuilt
    cdef const uint8_t *at
    cdef const uint8_t *end
    cdef const char *behind
    cdef uint64_t sequence = 0
    cdef size_t place = 0
    cdef size_t line = 0
    cdef size_t i
    if not wire_read(view_of(entry), WIRE_ENTRY, &fields, NULL):
        return None
    if not wire_read(fields.texts[ENTRY_DOCUMENT], WIRE_DOCUMENT_ENTRY, &document, &findings):
        return None
    if not document.numbers[ENTRY_CLEARED]:
        return None
    if not cut_document(&cut, document.texts[ENTRY_DOCUMENT_BYTES], view_of(key), &place, &line):
        return None
    previous = document.texts[ENTRY_PREVIOUS]
    at = <const uint8_t *> previous.data()
    end = at + previous.size()
    for i in range(place + 1):
        if not wire_varint(&at, end, &sequence):
            return None
    # What is told between the document and the predecessors stays as it is.
    wire_append_text(&content, ENTRY_DOCUMENT_BYTES, view_of_string(cut))
    behind = document.texts[ENTRY_DOCUMENT_BYTES].data() + document.texts[ENTRY_DOCUMENT_BYTES].size()
    content.append(behind, <size_t> (before(previous) - behind))
    wire_append_varint(&kept, sequence)
    wire_append_text(&content, ENTRY_PREVIOUS, view_of_string(kept))
    wire_append_number(&content, ENTRY_CLEARED, 1)
    wire_append_number(&rebuilt, ENTRY_SEQUENCE, fields.numbers[ENTRY_SEQUENCE])
    wire_append_number(&rebuilt, ENTRY_RECEIVE_TIME, fields.numbers[ENTRY_RECEIVE_TIME])
    wire_append_text(&rebuilt, ENTRY_DOCUMENT, view_of_string(content))
    return bytes_of(view_of_string(rebuilt)), line


cdef bint cut_document(
    string *out, string_view document, string_view key, size_t *place, size_t *line_place
) noexcept:
    """A document that was cleared with one line and one scan; `place` is the code's among the document's."""
    cdef vector[string_view] lines, scans
    cdef WireMessage fields, line
    cdef PlainReading reading
    cdef string kept
    cdef char digits[20]
    cdef bint is_digits = key.size() == 11 and key.data()[0] == c'N'
    cdef uint8_t pair
    cdef size_t i, k
    cdef bint found
    if is_digits:
        for i in range(10):
            pair = <uint8_t> key.data()[i + 1]
            digits[2 * i] = <char> (48 + (pair >> 4))
            digits[2 * i + 1] = <char> (48 + (pair & 15))
    place[0] = 0
    if not wire_read(document, WIRE_DOCUMENT, &fields, &lines):
        return False
    for i in range(lines.size()):
        scans.clear()
        if not wire_read(lines[i], WIRE_LINE, &line, &scans):
            return False
        for k in range(scans.size()):
            # Of twenty characters 20 digits have no other form; nearly all scans are told apart by this.
            if is_digits and scans[k].size() == 20:
                found = memcmp(scans[k].data(), digits, 20) == 0
            elif read_plain(
                <const unsigned char *> scans[k].data(), <Py_ssize_t> scans[k].size(), &reading
            ):
                found = equals(string_view(<const char *> reading.key, reading.key_length), key)
            else:
                return False
            if found:
                keep_scan(&kept, lines[i], scans, k)
                keep_line(out, document, lines, kept)
                line_place[0] = i
                return True
            place[0] += 1
    return False


cdef void keep_scan(string *out, string_view line, const vector[string_view] &scans, size_t kept) noexcept:
    """A line with one of its scans, which stand in a row."""
    cdef const char *begin = before(scans[0])
    cdef const char *end = scans[scans.size() - 1].data() + scans[scans.size() - 1].size()
    out.append(line.data(), <size_t> (begin - line.data()))
    wire_append_text(out, LINE_SCANS, scans[kept])
    out.append(end, <size_t> (line.data() + line.size() - end))


cdef void keep_line(
    string *out, string_view document, const vector[string_view] &lines, const string &kept
) noexcept:
    """A document with one line in place of its lines, which stand in a row."""
    cdef const char *begin = before(lines[0])
    cdef const char *end = lines[lines.size() - 1].data() + lines[lines.size() - 1].size()
    out.append(document.data(), <size_t> (begin - document.data()))
    wire_append_text(out, DOCUMENT_LINES, view_of_string(kept))
    out.append(end, <size_t> (document.data() + document.size() - end))


cdef const char *before(string_view field) noexcept:
    """Where a field of a number below 16 begins: its tag and its length stand before its content."""
    cdef string length
    wire_append_varint(&length, field.size())
    return field.data() - length.size() - 1
