# What entries tell of one code: from the bytes of the journal to those of CodeEvents, for a page of a chain
# that is too long to be folded. The twin of `tell_entry` in tracecode/engine/store_engine.py, which parses,
# freezes and reads each entry for the sake of a dozen fields of it: the first to ask a server that has just
# started would wait for that a hundred times. Findings are copied as they stand. What is not plain is left to
# the twin, and so is what is damaged: it says what is wrong.

cdef enum:
    # Field numbers of proto/tracecode/v1/code.proto.
    EVENT_SEQUENCE = 1
    EVENT_LINE_NUMBER = 2
    EVENT_OPERATION = 3
    EVENT_INSTITUTION = 4
    EVENT_KIND = 5
    EVENT_NUMBER = 6
    EVENT_BUSINESS_TIME = 7
    EVENT_RECEIVE_TIME = 8
    EVENT_TIME = 9
    EVENT_REFUSED = 11
    EVENT_DELETED_BY = 12
    EVENT_FINDINGS_FIRST = 15
    EVENT_FINDINGS = 16
    EVENT_CHANNEL = 17
    EVENT_SETTLEMENT_ID = 18
    EVENT_LOT = 21
    EVENT_DRUG_CODE = 22
    EVENT_CORRECTS = 23

cdef struct CodePlace:
    # Where a document names the code first.
    WireMessage line
    PlainReading reading
    uint64_t number


cdef bint write_code_event(
    Store store, lmdb.Txn *txn, uint64_t sequence, string_view key, const vector[string_view] &codes,
    string *out
) noexcept nogil:
    """The event of an entry into `out`; False if it is not plain. `codes`: canonical texts under which
    findings about the box stand. Under the mutex, `txn` reads the journal."""
    cdef WireMessage entry, told, document, content, part
    cdef vector[string_view] first, standing, lines
    cdef string_view value
    cdef string room
    cdef DocumentRecord record
    cdef CodePlace place
    cdef int64_t receive_time, business_time
    cdef uint64_t kind
    if not read_durable_entry(store, txn, sequence, &value):
        return False
    if not wire_read(value, WIRE_JOURNAL_ENTRY, &entry, NULL):
        return False
    if entry.seen != (1 << ENTRY_SEQUENCE | 1 << ENTRY_RECEIVE_TIME | 1 << ENTRY_DOCUMENT):
        return False
    if not wire_read(entry.texts[ENTRY_DOCUMENT], WIRE_DOCUMENT_ENTRY, &told, &first):
        return False
    if not wire_read(told.texts[ENTRY_DOCUMENT_BYTES], WIRE_ANY_DOCUMENT, &document, &lines):
        return False
    if not wire_read(document.texts[DOCUMENT_TIME], WIRE_TIMESTAMP, &part, NULL):
        return False
    business_time = <int64_t> part.numbers[TIMESTAMP_SECONDS]
    receive_time = <int64_t> entry.numbers[ENTRY_RECEIVE_TIME] // 1000000000
    if receive_time <= 0 or not BUSINESS_TIME_MIN <= business_time < BUSINESS_TIME_MAX:
        return False
    if document.seen >> 16 == 1 << (DOCUMENT_SALE - 16):
        kind = KIND_SALE
        if not wire_read(document.texts[DOCUMENT_SALE], WIRE_SALE, &content, NULL):
            return False
    elif document.seen >> 16 == 1 << (DOCUMENT_SALE_RETURN - 16):
        kind = KIND_SALE_RETURN
        if not wire_read(document.texts[DOCUMENT_SALE_RETURN], WIRE_SALE_RETURN, &content, NULL):
            return False
    elif document.seen >> 16 == 1 << (DOCUMENT_RECEIPT - 16):
        kind = KIND_RECEIPT
        # A receipt has no settlement.
        memset(<void *> &content, 0, sizeof(content))
    else:
        return False
    if not find_code(lines, key, &place):
        return False
    # The units of a split pack are decimals and may be shared.
    if place.line.numbers[LINE_SPLIT] and kind != KIND_RECEIPT:
        return False
    if not find_document_record(store, &document, kind, sequence, &room, &record):
        return False
    if record.revision_sequence == 0:
        standing = first
    elif not read_revision(store, txn, record.revision_sequence, &standing):
        return False

    out.clear()
    wire_append_number(out, EVENT_SEQUENCE, sequence)
    wire_append_number(out, EVENT_LINE_NUMBER, place.number)
    wire_append_number(
        out, EVENT_OPERATION,
        OPERATION_SALE if kind == KIND_SALE
        else OPERATION_SALE_RETURN if kind == KIND_SALE_RETURN else OPERATION_RECEIVE,
    )
    wire_append_text(out, EVENT_INSTITUTION, document.texts[DOCUMENT_INSTITUTION])
    wire_append_number(out, EVENT_KIND, kind)
    wire_append_text(out, EVENT_NUMBER, document.texts[DOCUMENT_NUMBER])
    append_event_time(out, EVENT_BUSINESS_TIME, business_time, &room)
    append_event_time(out, EVENT_RECEIVE_TIME, receive_time, &room)
    append_event_time(
        out, EVENT_TIME,
        receive_time if business_time > receive_time + LINES_FUTURE_SKEW else business_time, &room,
    )
    append_event_number(out, EVENT_REFUSED, told.numbers[ENTRY_OUTCOME] == OUTCOME_REFUSED)
    append_event_number(out, EVENT_DELETED_BY, record.deleted_by)
    if not append_findings(out, EVENT_FINDINGS_FIRST, first, codes):
        return False
    if not append_findings(out, EVENT_FINDINGS, standing, codes):
        return False
    append_event_number(out, EVENT_CHANNEL, document.numbers[DOCUMENT_CHANNEL])
    append_event_text(out, EVENT_SETTLEMENT_ID, content.texts[SALE_SETTLEMENT_ID])
    if place.line.texts[LINE_LOT].size() != 0:
        wire_append_text(out, EVENT_LOT, place.line.texts[LINE_LOT])
    else:
        append_event_text(
            out, EVENT_LOT,
            string_view(<const char *> place.reading.lot, <size_t> place.reading.lot_length),
        )
    append_event_text(out, EVENT_DRUG_CODE, place.line.texts[LINE_DRUG_CODE])
    append_event_text(out, EVENT_CORRECTS, document.texts[DOCUMENT_CORRECTS])
    return True


cdef bint read_durable_entry(
    Store store, lmdb.Txn *txn, uint64_t sequence, string_view *entry
) noexcept nogil:
    """An entry of the journal, good as long as the transaction; False if it is not there or damaged."""
    cdef lmdb.Val key, stored
    cdef uint32_t crc
    cdef const char *data
    key.size, key.data = sizeof(sequence), &sequence
    if lmdb.get(txn, store.journal_dbi, &key, &stored) != 0 or stored.size < sizeof(crc):
        return False
    data = <const char *> stored.data
    memcpy(&crc, data, sizeof(crc))
    entry[0] = string_view(data + sizeof(crc), stored.size - sizeof(crc))
    return crc32c_extend(0, entry.data(), entry.size()) == crc


cdef bint read_revision(
    Store store, lmdb.Txn *txn, uint64_t sequence, vector[string_view] *findings
) noexcept nogil:
    """The findings of a revision."""
    cdef WireMessage entry, revision
    cdef string_view value
    if not read_durable_entry(store, txn, sequence, &value):
        return False
    if not wire_read(value, WIRE_JOURNAL_ENTRY, &entry, NULL):
        return False
    if not entry.seen >> ENTRY_REVISION & 1:
        return False
    return wire_read(entry.texts[ENTRY_REVISION], WIRE_REVISION, &revision, findings)


cdef bint find_document_record(
    Store store, WireMessage *document, uint64_t kind, uint64_t sequence, string *key, DocumentRecord *record
) noexcept nogil:
    """What became of the document; False also for one whose number a correction took over."""
    cdef string_view value
    cdef InstitutionHead head
    if look_up(store, table_key(key, c'i', document.texts[DOCUMENT_INSTITUTION]), &value) != FOUND:
        return False
    if value.size() < sizeof(head):
        return False
    memcpy(&head, value.data(), sizeof(head))
    value = string_view()
    if look_up(
        store, numbered_key(key, c'd', head.number, <uint8_t> kind, document.texts[DOCUMENT_NUMBER]), &value
    ) != FOUND:
        return False
    if value.size() != sizeof(DocumentRecord):
        return False
    memcpy(record, value.data(), sizeof(DocumentRecord))
    return record.sequence == sequence


cdef bint find_code(const vector[string_view] &lines, string_view key, CodePlace *place) noexcept nogil:
    """The first scan that reads as the code; False also where one before it, or a package, is not plain."""
    cdef vector[string_view] scans
    cdef size_t i, k
    for i in range(lines.size()):
        scans.clear()
        if not wire_read(lines[i], WIRE_LINE, &place.line, &scans):
            return False
        for k in range(scans.size()):
            if not read_plain(
                <const unsigned char *> scans[k].data(), <Py_ssize_t> scans[k].size(), &place.reading
            ):
                return False
            if equals(string_view(<const char *> place.reading.key, <size_t> place.reading.key_length), key):
                place.number = place.line.numbers[LINE_NUMBER]
                if place.number == 0:
                    place.number = i + 1
                return True
    return False


cdef bint append_findings(
    string *out, int number, const vector[string_view] &findings, const vector[string_view] &codes
) noexcept nogil:
    """Those about the document or the box, as they are written; False if one is in another form."""
    cdef WireMessage fields
    cdef vector[string_view] evidence
    cdef bint is_told
    cdef size_t i, k
    for i in range(findings.size()):
        evidence.clear()
        if not wire_read(findings[i], WIRE_FINDING, &fields, &evidence):
            return False
        is_told = fields.numbers[FINDING_LINE] == 0
        for k in range(codes.size()):
            is_told |= equals(fields.texts[FINDING_CODE], codes[k])
        if is_told:
            wire_append_text(out, number, findings[i])
    return True


cdef inline void append_event_time(string *out, int number, int64_t seconds, string *room) noexcept nogil:
    wire_append_time(room, seconds, 0)
    wire_append_text(out, number, view_of_string(room[0]))


cdef inline void append_event_number(string *out, int number, uint64_t value) noexcept nogil:
    if value != 0:
        wire_append_number(out, number, value)


cdef inline void append_event_text(string *out, int number, string_view text) noexcept nogil:
    if text.size() != 0:
        wire_append_text(out, number, text)
