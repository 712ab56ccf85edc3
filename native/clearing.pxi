# Clearing: the documents that are plainly in order, which is most of them, without Python.
#
# Clearing never accuses. `check_*` ask, in a column, for all that makes a document plain; whatever is missing
# returns False, and the same document is judged by the rules in tracecode/rules. If all of it holds, no rule
# can fire, and `write_document` does to the journal and the index exactly what Index.apply would do.
# Nothing is written before everything is checked.
#
# It goes in three steps over some documents at once: read each by itself, with the catalogue; look for what
# is known of all their codes side by side, because that waits for memory; check and write one after another.
# The catalogue does not change meanwhile: clearing writes no record of it.
#
# A new rule that could fire on a cleared document needs a guard here; the property "cleared => every rule is
# silent and the bytes are the same" says so.
#
# Two kinds of documents can be plain. A receipt: of codes that nobody has seen, and of lines without codes.
# A sale: of whole packs that lie in stock at the institution, with no flag on their past, nothing pending,
# and dates and lots that agree wherever they are said. Where an institution does not upload the codes that it
# receives, a code that nobody has seen is plain too, but for the notice that says so: STOCK_NEVER_RECEIVED
# at INFO, as its rule gives it. That is no accusation.

from libcpp.algorithm cimport sort

cdef enum:
    DOCUMENTS_AT_ONCE = 64    # as many as fill the time that memory takes, and fit the nearest caches
    CODES_AT_ONCE = 1000
    CHINA_SECONDS = 8 * 3600
    DAY_SECONDS = 86400
    BUSINESS_TIME_MIN = 946684800     # 2000-01-01 UTC, as in tracecode/document.py
    LINES_MAX = 3500
    SCAN_OCTETS_MAX = 256
    EVENTS_MAX = 320    # as in tracecode/engine/index.py: of a longer chain a part is read

cdef int64_t BUSINESS_TIME_MAX = 4102444800
cdef int32_t NO_DAY = -2147483648
cdef int32_t BUSINESS_DAY_MAX = 2147483647

cdef enum:
    # Field numbers of proto/tracecode/v1/document.proto.
    DOCUMENT_INSTITUTION = 1
    DOCUMENT_NUMBER = 2
    DOCUMENT_TIME = 3
    DOCUMENT_OFFLINE = 8
    DOCUMENT_CORRECTS = 9
    DOCUMENT_SALE = 16
    DOCUMENT_RECEIPT = 18
    LINE_NUMBER = 1
    LINE_DRUG_CODE = 2
    LINE_QUANTITY = 4
    LINE_SPLIT = 5
    LINE_BATCH_SERIAL = 6
    LINE_LOT = 7
    LINE_MANUFACTURED = 8
    LINE_EXPIRY = 9
    SALE_STAGE = 1
    TIMESTAMP_SECONDS = 1
    TIMESTAMP_NANOS = 2

cdef enum:
    # Numbers of the contract: DocumentKind, DeletedType, SaleStage, CodeState, Outcome.
    KIND_SALE = 1
    KIND_RECEIPT = 3
    DELETED_PURCHASE = 3
    DELETED_SALE = 4
    STAGE_BEFORE_SETTLEMENT = 1
    STAGE_REPORTED = 2
    STATE_UNKNOWN = 1
    STATE_IN_STOCK = 2
    STATE_SOLD = 4
    OUTCOME_ACCEPTED = 1
    SEVERITY_INFO = 1

cdef enum:
    # Flags of the records, as in tracecode/engine/records.py.
    PRODUCT_SMALLEST_UNIT = 1
    PRODUCT_HELD = 2
    INSTITUTION_REGISTERED = 1
    INSTITUTION_UPLOADS_RECEIPT_CODES = 2
    INSTITUTION_DIVISION = 3          # in the message behind the head
    CODE_FLAG_PACKAGE = 2
    CODE_FLAG_HELD = 4

cdef inline bint is_printable_ascii(string_view text) noexcept nogil:
    cdef size_t i
    for i in range(text.size()):
        if not 0x20 <= <uint8_t> text.data()[i] < 0x7F:
            return False
    return True


cdef inline bint is_digits(const char *at, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if not c'0' <= at[i] <= c'9':
            return False
    return True


cdef inline bint equals(string_view a, string_view b) noexcept nogil:
    if a.size() != b.size():
        return False
    # An empty view may point nowhere, which memcmp may not be given even for no bytes.
    return a.size() == 0 or memcmp(a.data(), b.data(), a.size()) == 0


cdef bint read_day(string_view text, int32_t *day) noexcept nogil:
    """yyyy-MM-dd as days since 1970-01-01, empty as NO_DAY; False for anything else."""
    day[0] = NO_DAY
    if text.size() == 0:
        return True
    cdef const char *at = text.data()
    if text.size() != 10 or at[4] != c'-' or at[7] != c'-':
        return False
    if not (is_digits(at, 4) and is_digits(at + 5, 2) and is_digits(at + 8, 2)):
        return False
    cdef int year = (at[0] - 48) * 1000 + (at[1] - 48) * 100 + (at[2] - 48) * 10 + at[3] - 48
    cdef int month = (at[5] - 48) * 10 + at[6] - 48
    cdef int date = (at[8] - 48) * 10 + at[9] - 48
    cdef bint leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < 1 or not 1 <= month <= 12:
        return False
    cdef int last = (29 if leap else 28) if month == 2 else 30 if month in (4, 6, 9, 11) else 31
    if date > last or (date == 0 and year == 9999 and month == 12):
        return False
    if date == 0:
        date = last    # as GS1 has it
    # Days from the first of March of year 0 (proleptic Gregorian), so that a leap day ends its year.
    cdef int shifted = year - (1 if month <= 2 else 0)
    cdef int in_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + date - 1
    day[0] = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + in_year - 719468
    return True


cdef bint read_count(string_view text, uint64_t *count, bint *is_whole) noexcept nogil:
    """A quantity as tracecode/document.py takes it, more than 0: its whole part, and whether that is all."""
    cdef const char *at = text.data()
    cdef size_t size = 0
    cdef size_t i
    cdef bint some = False
    count[0] = 0
    is_whole[0] = True
    while size < text.size() and c'0' <= at[size] <= c'9':
        count[0] = count[0] * 10 + <uint64_t> (at[size] - 48)
        size += 1
        if size > 12:
            return False
    if size == 0:
        return False
    if size < text.size():
        if at[size] != c'.' or not 1 <= text.size() - size - 1 <= 4:
            return False
        if not is_digits(at + size + 1, text.size() - size - 1):
            return False
        for i in range(size + 1, text.size()):
            if at[i] != c'0':
                is_whole[0] = False
                some = True
    return some or count[0] > 0


cdef uint32_t hash_lot(string_view lot) noexcept nogil:
    """FNV-1a, 64 bits folded to 32; 0 for no lot, and for no other."""
    cdef uint64_t value = <uint64_t> 0xCBF29CE484222325
    cdef size_t i
    if lot.size() == 0:
        return 0
    for i in range(lot.size()):
        value = (value ^ <uint8_t> lot.data()[i]) * <uint64_t> 0x100000001B3
    return max(<uint32_t> (value ^ (value >> 32)), <uint32_t> 1)


cdef inline string_view table_key(string *key, char table, string_view rest) noexcept nogil:
    key.clear()
    key.push_back(table)
    key.append(rest.data(), rest.size())
    return view_of_string(key[0])


cdef string_view numbered_key(
    string *key, char table, uint32_t institution, uint8_t kind, string_view rest
) noexcept nogil:
    """A key that begins with an institution's number, big-endian, and a kind or type."""
    cdef int shift
    key.clear()
    key.push_back(table)
    for shift in range(24, -1, -8):
        key.push_back(<char> (institution >> shift))
    key.push_back(<char> kind)
    key.append(rest.data(), rest.size())
    return view_of_string(key[0])


cdef inline string_view batch_group(string *key, char table, Plain *plain, string_view serial) noexcept nogil:
    """The key of a batch serial without its sequence: the group of all entries that carry it."""
    numbered_key(key, table, plain.institution, plain.deleted_type, serial)
    key.push_back(0)
    return view_of_string(key[0])


cdef size_t clear_documents(
    Store store, Candidate *candidates, size_t count, bint *plain
) noexcept nogil:
    """Clear documents in order, at most DOCUMENTS_AT_ONCE and some CODES_AT_ONCE; how many. `plain` becomes
    False at the first that is not; that one leaves nothing behind. Under the mutex."""
    cdef size_t readable = read_documents(store, candidates, count, plain)
    cdef size_t cleared = 0
    while cleared < readable and check_known(store, &candidates[cleared], &store.plains[cleared]):
        # After this point nothing can fail: the document is plain.
        write_document(store, &candidates[cleared], &store.plains[cleared])
        cleared += 1
    plain[0] = plain[0] and cleared == readable
    return cleared


cdef size_t read_documents(
    Store store, Candidate *candidates, size_t count, bint *plain
) noexcept nogil:
    """Read as many as are looked up together; how many. Others wait for the mutex meanwhile, so that is
    bounded by their codes, too."""
    cdef size_t codes = 0
    cdef size_t readable = 0
    plain[0] = True
    while readable < count and codes < CODES_AT_ONCE:
        plain[0] = read_document(store, &candidates[readable], &store.plains[readable])
        if not plain[0]:
            break
        codes += store.plains[readable].codes.size()
        readable += 1
    if readable != 0:
        look_ahead(store, readable)
    return readable


cdef bint read_document(Store store, Candidate *candidate, Plain *plain) noexcept nogil:
    """All that can be said of a document without knowing the past of its codes."""
    cdef size_t i
    plain.reset()
    if not check_document(store, candidate, plain):
        return False
    for i in range(plain.lines.size()):
        if not check_line(store, plain, plain.lines[i], <uint32_t> (i + 1)):
            return False
    return check_distinct(plain)


cdef void look_ahead(Store store, size_t count) noexcept nogil:
    """Find the records of some documents and their codes as far as the index on disk has them, and bring
    those of the overlays near. What is found is only a place to look at first: `find` decides."""
    cdef size_t i, k, total
    cdef Plain *plain
    cdef Wanted wanted
    total = 0
    store.wanted.clear()
    for i in range(count):
        plain = &store.plains[i]
        store.prefetch(plain.document_hash)
        if not store.replaying:
            wanted.key = view_of_string(plain.document_key)
            store.wanted.push_back(wanted)
        for k in range(plain.codes.size()):
            store.prefetch(plain.codes[k].hash)
            wanted.key = code_key(plain, &plain.codes[k])
            store.wanted.push_back(wanted)
    for i in range(count):
        plain = &store.plains[i]
        store.prefetch_records(plain.document_hash)
        for k in range(plain.codes.size()):
            store.prefetch_records(plain.codes[k].hash)
    store.walk_pages()
    for i in range(count):
        plain = &store.plains[i]
        if not store.replaying:
            plain.document_found = store.wanted[total].found
            total += 1
        plain.wanted.assign(
            store.wanted.begin() + total, store.wanted.begin() + (total + plain.codes.size())
        )
        total += plain.codes.size()


cdef bint check_known(Store store, Candidate *candidate, Plain *plain) noexcept nogil:
    """That the document is new, and that the past of each code is plain."""
    cdef PlainCode *code
    cdef size_t i
    # The journal has no entry twice.
    if not store.replaying and not check_new(store, candidate, plain):
        return False
    for i in range(plain.codes.size()):
        code = &plain.codes[i]
        if plain.kind == KIND_RECEIPT:
            if not check_received_code(store, plain, plain.wanted[i].found, code):
                return False
        elif not check_sold_code(store, plain, plain.wanted[i].found, code):
            return False
    return True


cdef bint check_new(Store store, Candidate *candidate, Plain *plain) noexcept nogil:
    """Nobody has told of the document, nor used its request_id, nor deleted one of its batch serials."""
    cdef string_view value
    if store.find_walked(
        view_of_string(plain.document_key), plain.document_hash, plain.document_found, &value
    ) != MISSING:
        return False
    if candidate.request_id.size() != 0:
        if look_up(store, request_key(plain, candidate), &value) != MISSING:
            return False
    return check_batches(store, plain)


cdef bint check_document(Store store, Candidate *candidate, Plain *plain) noexcept nogil:
    """The document without its lines, and who reports it."""
    cdef WireMessage document, part
    cdef string_view institution, number
    cdef bint is_sale, is_receipt
    cdef int64_t receive_time = candidate.receive_time_ns // 1000000000
    if candidate.receive_time_ns <= 0:
        return False
    if candidate.request_id.size() > 64 or not is_printable_ascii(candidate.request_id):
        return False
    if not wire_read(candidate.document, WIRE_DOCUMENT, &document, &plain.lines):
        return False
    is_sale = document.seen >> DOCUMENT_SALE & 1
    is_receipt = document.seen >> DOCUMENT_RECEIPT & 1
    if is_sale == is_receipt:
        return False
    plain.kind = KIND_SALE if is_sale else KIND_RECEIPT
    plain.deleted_type = DELETED_SALE if is_sale else DELETED_PURCHASE
    if is_sale:
        if not wire_read(document.texts[DOCUMENT_SALE], WIRE_SALE, &part, NULL):
            return False
        if part.numbers[SALE_STAGE] not in (STAGE_BEFORE_SETTLEMENT, STAGE_REPORTED):
            return False
    elif not wire_read(document.texts[DOCUMENT_RECEIPT], WIRE_RECEIPT, &part, NULL):
        return False
    institution = document.texts[DOCUMENT_INSTITUTION]
    if not is_institution_code(institution):
        return False
    number = document.texts[DOCUMENT_NUMBER]
    if number.size() == 0 or not is_printable_ascii(number):
        return False
    if document.numbers[DOCUMENT_OFFLINE] or document.texts[DOCUMENT_CORRECTS].size() != 0:
        return False
    if not document.seen >> DOCUMENT_TIME & 1:
        return False
    if not wire_read(document.texts[DOCUMENT_TIME], WIRE_TIMESTAMP, &part, NULL):
        return False
    plain.time = <int64_t> part.numbers[TIMESTAMP_SECONDS]
    if not BUSINESS_TIME_MIN <= plain.time < BUSINESS_TIME_MAX:
        return False
    if part.numbers[TIMESTAMP_NANOS] > 999999999:
        return False
    if not 1 <= plain.lines.size() <= LINES_MAX:
        return False
    if not check_reporter(store, plain, institution, receive_time):
        return False
    numbered_key(&plain.document_key, c'd', plain.institution, plain.kind, number)
    plain.document_hash = hash_key(view_of_string(plain.document_key))
    return True


cdef bint is_institution_code(string_view text) noexcept nogil:
    """A letter and eleven digits."""
    if text.size() != 12 or not c'A' <= text.data()[0] <= c'Z':
        return False
    return is_digits(text.data() + 1, 11)


cdef bint check_reporter(
    Store store, Plain *plain, string_view institution, int64_t receive_time
) noexcept nogil:
    """Who reports, and when: an institution in service, neither late nor with a clock that is ahead."""
    cdef WireMessage fields
    cdef string_view value, text
    cdef InstitutionHead head
    cdef Guards guards
    cdef bint rows_ask
    if receive_time - plain.time > store.guards.late_seconds:
        return False
    if plain.time > receive_time + store.guards.future_skew_seconds:
        return False
    plain.day = <int32_t> ((plain.time + CHINA_SECONDS) // DAY_SECONDS)
    if look_up(store, table_key(&plain.key, c'i', institution), &value) != FOUND:
        return False
    if value.size() < sizeof(head):
        return False
    memcpy(&head, value.data(), sizeof(head))
    if not head.flags & INSTITUTION_REGISTERED:
        return False
    plain.institution = head.number
    plain.uploads_receipt_codes = head.flags & INSTITUTION_UPLOADS_RECEIPT_CODES
    plain.legacy_stock_until_day = store.guards.legacy_stock_until_day
    # What was cleared was silent by the rows of its time.
    rows_ask = not store.replaying and not store.scoped_guards.silent(
        receive_time - plain.time,
        plain.time - receive_time,
        # Where receipts carry codes, a code that nobody has seen is never plain, whatever the day.
        BUSINESS_DAY_MAX if plain.uploads_receipt_codes else plain.day,
    )
    if rows_ask or not plain.uploads_receipt_codes:
        store.service_periods.clear()
        if not wire_read(
            string_view(value.data() + sizeof(head), value.size() - sizeof(head)), WIRE_INSTITUTION, &fields,
            &store.service_periods,
        ):
            return False
        text = fields.texts[INSTITUTION_DIVISION]
        plain.division_code.assign(text.data(), text.size())
        plain.institution_code.assign(institution.data(), institution.size())
    if rows_ask:
        guards = store.scoped_guards.at(store.guards, institution, text, plain.day)
        if receive_time - plain.time > guards.late_seconds:
            return False
        if plain.time - receive_time > guards.future_skew_seconds:
            return False
        plain.legacy_stock_until_day = guards.legacy_stock_until_day
    return head.service_start_day <= plain.day <= head.service_end_day


cdef bint check_line(Store store, Plain *plain, string_view message, uint32_t position) noexcept nogil:
    """One line with its codes."""
    cdef WireMessage fields
    cdef PlainLine line
    cdef int32_t manufacture_day
    cdef PlainReading reading
    cdef uint64_t count, number
    cdef bint is_whole
    cdef size_t i
    plain.scans.clear()
    if not wire_read(message, WIRE_LINE, &fields, &plain.scans):
        return False
    number = fields.numbers[LINE_NUMBER]
    # Either no line is numbered, and each takes its position, or every line has a number of its own.
    if plain.line_number != 0 and number <= plain.line_number:
        return False
    if plain.line_number == 0 and number != 0 and message.data() != plain.lines[0].data():
        return False
    plain.line_number = <uint32_t> number
    line.number = <uint32_t> number if number != 0 else position
    if fields.numbers[LINE_SPLIT]:
        return False
    line.drug_code = fields.texts[LINE_DRUG_CODE]
    line.lot = fields.texts[LINE_LOT]
    if not is_printable_ascii(line.lot):
        return False
    if not read_day(fields.texts[LINE_EXPIRY], &line.expiry_day):
        return False
    if not read_day(fields.texts[LINE_MANUFACTURED], &manufacture_day) or manufacture_day > plain.day:
        return False
    if not read_count(fields.texts[LINE_QUANTITY], &count, &is_whole):
        return False
    if fields.texts[LINE_BATCH_SERIAL].size() != 0:
        plain.batch_serials.push_back(fields.texts[LINE_BATCH_SERIAL])
    if plain.scans.size() == 0:
        return plain.kind == KIND_RECEIPT
    if not is_whole or count != plain.scans.size():
        return False
    if line.drug_code.size() == 0 or plain.codes.size() + plain.scans.size() > LINES_MAX:
        return False
    for i in range(plain.scans.size()):
        if not check_scan(store, plain, &line, plain.scans[i], &reading):
            return False
    return True


cdef bint check_scan(
    Store store, Plain *plain, PlainLine *line, string_view scan, PlainReading *reading
) noexcept nogil:
    """One scan: what it reads as, and its product."""
    cdef PlainCode code
    cdef string_view lot
    if scan.size() > SCAN_OCTETS_MAX or not wire_is_text(scan, False):
        return False
    if not read_plain(<const unsigned char *> scan.data(), <Py_ssize_t> scan.size(), reading):
        return False
    if reading.code_class != CODE_TWENTY_DIGIT and reading.code_class != CODE_GS1:
        return False
    if reading.identifier_length == 0:
        return False
    lot = string_view(<const char *> reading.lot, reading.lot_length)
    if lot.size() != 0 and line.lot.size() != 0 and not equals(lot, line.lot):
        return False
    if reading.expiry_days >= 0 and line.expiry_day not in (NO_DAY, reading.expiry_days):
        return False
    if reading.production_days > plain.day:
        return False
    # What the product was when the entry was cleared, it was.
    if not store.replaying and not check_product(store, plain, line, reading):
        return False

    code.key_at = plain.keys.size()
    plain.keys.push_back(c'c')
    plain.keys.append(<const char *> reading.key, reading.key_length)
    code.key_size = plain.keys.size() - code.key_at
    code.hash = hash_key(code_key(plain, &code))
    code.lot_hash = hash_lot(lot if line.lot.size() == 0 else line.lot)
    code.line_number = line.number
    code.expiry_day = line.expiry_day
    if code.expiry_day == NO_DAY and reading.expiry_days >= 0:
        code.expiry_day = reading.expiry_days
    plain.codes.push_back(code)
    return True


cdef bint check_product(Store store, Plain *plain, PlainLine *line, PlainReading *reading) noexcept nogil:
    """The scan's product: known, a sales unit, on no list, and what the line says it is."""
    cdef string_view identifier = string_view(<const char *> reading.identifier, reading.identifier_length)
    cdef ProductHead head
    cdef const char *at
    cdef const char *end
    cdef int i
    if not equals(identifier, view_of_string(plain.product_identifier)):
        if look_up(store, table_key(&plain.key, c'p', identifier), &plain.product) != FOUND:
            return False
        plain.product_identifier.assign(identifier.data(), identifier.size())
    if plain.product.size() < sizeof(head):
        return False
    memcpy(&head, plain.product.data(), sizeof(head))
    if head.package_level != 1 and not head.flags & PRODUCT_SMALLEST_UNIT:
        return False
    if head.flags & PRODUCT_HELD:
        return False
    at = plain.product.data() + sizeof(head)
    end = plain.product.data() + plain.product.size()
    for i in range(head.drug_code_count):
        if at == end or end - at - 1 < <uint8_t> at[0]:
            return False
        if equals(string_view(at + 1, <uint8_t> at[0]), line.drug_code):
            return True
        at += 1 + <uint8_t> at[0]
    return False


cdef bint check_received_code(
    Store store, Plain *plain, string_view found, PlainCode *code
) noexcept nogil:
    """A code that comes in: nobody has seen it. Its record becomes what is known of it then."""
    cdef string_view value
    if store.find_walked(code_key(plain, code), code.hash, found, &value) != MISSING:
        return False
    code.previous = 0
    code.record.state = STATE_IN_STOCK
    code.record.flags = 0
    code.record.event_count = 1
    code.record.institution = plain.institution
    code.record.units_left = 0
    code.record.active_sales = 0
    code.record.return_cycles = 0
    code.record.head = 0
    code.record.last_time = <uint32_t> plain.time    # a document's time lies before 2100
    code.record.lot_hash = code.lot_hash
    code.record.expiry_day = code.expiry_day
    return True


cdef bint check_sold_code(
    Store store, Plain *plain, string_view found, PlainCode *code
) noexcept nogil:
    """A code that is sold: in stock here, with nothing odd in its past. Lot and expiry are what the line or
    else the scan says; those of the line and of the scan agree."""
    cdef string_view key = code_key(plain, code)
    cdef string_view value
    cdef int known = store.find_walked(key, code.hash, found, &value)
    if known == MISSING:
        return check_never_received(store, plain, code)
    if known != FOUND or value.size() != sizeof(CodeRecord):
        return False
    memcpy(&code.record, value.data(), sizeof(CodeRecord))
    if code.record.state != STATE_IN_STOCK or code.record.flags & ~CODE_FLAG_PACKAGE != 0:
        return False
    if code.record.institution != plain.institution:
        return False
    if code.record.active_sales != 0 or code.record.return_cycles != 0:
        return False
    if <int64_t> code.record.last_time >= plain.time:
        return False
    if code.record.event_count >= EVENTS_MAX - 1:
        return False
    if code.lot_hash != 0 and code.record.lot_hash not in (0, code.lot_hash):
        return False
    if code.expiry_day != NO_DAY and code.expiry_day < plain.day:
        return False
    if code.expiry_day != NO_DAY and code.record.expiry_day not in (NO_DAY, code.expiry_day):
        return False
    if code.record.expiry_day != NO_DAY and code.record.expiry_day < plain.day:
        return False
    if code.record.flags & CODE_FLAG_PACKAGE:
        if not check_packages(store, plain, string_view(key.data() + 1, key.size() - 1)):
            return False
    code.previous = code.record.head
    code.record.state = STATE_SOLD
    code.record.event_count += 1
    code.record.active_sales = 1
    code.record.last_time = <uint32_t> plain.time
    return True


cdef bint check_never_received(Store store, Plain *plain, PlainCode *code) noexcept nogil:
    """A code that nobody has seen, sold where codes are not uploaded when they come in."""
    cdef Notice notice
    if plain.uploads_receipt_codes or store.notice_head.size() == 0:
        return False
    if plain.day < plain.legacy_stock_until_day:
        return False
    if code.expiry_day != NO_DAY and code.expiry_day < plain.day:
        return False
    notice.line_number = code.line_number
    append_key_text(&notice.code, code_key(plain, code))
    plain.notices.push_back(notice)
    code.previous = 0
    code.record.state = STATE_SOLD
    code.record.flags = 0
    code.record.event_count = 1
    code.record.institution = plain.institution
    code.record.units_left = 0
    code.record.active_sales = 1
    code.record.return_cycles = 0
    code.record.head = 0
    code.record.last_time = <uint32_t> plain.time
    code.record.lot_hash = 0
    code.record.expiry_day = NO_DAY
    return True


cdef bint check_packages(Store store, Plain *plain, string_view code) noexcept nogil:
    """No code is inside this one, for it would be sold with it; and it is inside of packages that are inside
    of none, and not on hold."""
    cdef vector[string] names, above
    cdef string_view value, package
    cdef CodeRecord record
    cdef size_t i
    cdef int found
    if store.names(package_group(&plain.key, c'k', code), &names) != 0 or names.size() != 0:
        return False
    if store.names(package_group(&plain.key, c'q', code), &names) != 0:
        return False
    for i in range(names.size()):
        package = string_view(names[i].data() + 2 + code.size(), names[i].size() - 2 - code.size())
        # What is around that one, the rules look at.
        if store.names(package_group(&plain.key, c'q', package), &above) != 0 or above.size() != 0:
            return False
        found = look_up(store, table_key(&plain.key, c'c', package), &value)
        if found == MISSING:
            continue
        if found != FOUND or value.size() != sizeof(record):
            return False
        memcpy(&record, value.data(), sizeof(record))
        if record.flags & CODE_FLAG_HELD:
            return False
    return True


cdef bint check_distinct(Plain *plain) noexcept nogil:
    """No code stands twice. By hashes: two codes of one hash are not worth being told apart here."""
    cdef size_t i
    plain.hashes.clear()
    for i in range(plain.codes.size()):
        plain.hashes.push_back(plain.codes[i].hash)
    sort(plain.hashes.begin(), plain.hashes.end())
    for i in range(1, plain.hashes.size()):
        if plain.hashes[i] == plain.hashes[i - 1]:
            return False
    return True


cdef bint check_batches(Store store, Plain *plain) noexcept nogil:
    """No deletion waits for a batch serial of this document."""
    cdef vector[string] names
    cdef size_t i
    for i in range(plain.batch_serials.size()):
        if i > 0 and equals(plain.batch_serials[i], plain.batch_serials[i - 1]):
            continue
        if store.names(batch_group(&plain.key, c'x', plain, plain.batch_serials[i]), &names) != 0:
            return False
        if names.size() != 0:
            return False
    return True


cdef size_t replay_documents(
    Store store, Candidate *candidates, size_t count, uint64_t first, bint *plain
) noexcept nogil:
    """Apply again what was cleared as the entries from `first` on; how many. What was plain then is plain
    again, and the records are what they were; if not, `plain` becomes False. Under the mutex."""
    cdef size_t readable
    cdef size_t done = 0
    store.replaying = True
    readable = read_documents(store, candidates, count, plain)
    while done < readable and check_known(store, &candidates[done], &store.plains[done]):
        write_records(store, &candidates[done], &store.plains[done], first + done)
        done += 1
    store.replaying = False
    plain[0] = plain[0] and done == readable
    return done


cdef void write_document(Store store, Candidate *candidate, Plain *plain) noexcept nogil:
    """The entry, as protobuf writes it in the order of field numbers, and the records it leads to."""
    cdef uint64_t sequence = store.durable + store.pending.size() + 1
    cdef size_t i
    sort(plain.notices.begin(), plain.notices.end())
    append_verdict(store, candidate, plain, sequence)
    plain.body.clear()
    wire_append_text(&plain.body, 1, candidate.document)
    if candidate.request_id.size() != 0:
        wire_append_text(&plain.body, 2, candidate.request_id)
    wire_append_number(&plain.body, 3, OUTCOME_ACCEPTED)
    for i in range(plain.notices.size()):
        append_notice(store, plain, i, &plain.body, 4, view_of_string(store.notice_tail))
    if store.rule_base_version.size() != 0:
        wire_append_text(&plain.body, 5, view_of_string(store.rule_base_version))
    if plain.codes.size() != 0:
        plain.key.clear()
        for i in range(plain.codes.size()):
            wire_append_varint(&plain.key, plain.codes[i].previous)
        wire_append_text(&plain.body, 6, view_of_string(plain.key))
    wire_append_number(&plain.body, 7, 1)
    plain.entry.clear()
    wire_append_number(&plain.entry, 1, sequence)
    wire_append_number(&plain.entry, 2, <uint64_t> candidate.receive_time_ns)
    wire_append_text(&plain.entry, 3, view_of_string(plain.body))
    store.pending.push_back(plain.entry)
    write_records(store, candidate, plain, sequence)


cdef void write_records(
    Store store, Candidate *candidate, Plain *plain, uint64_t sequence
) noexcept nogil:
    """What an entry leaves in the index."""
    cdef uint64_t stored = sequence
    cdef DocumentRecord record
    cdef PlainCode *code
    cdef size_t i
    cdef int shift
    memset(&record, 0, sizeof(record))
    record.sequence = sequence
    store.live.put(
        view_of_string(plain.document_key),
        plain.document_hash,
        string_view(<const char *> &record, sizeof(record)),
    )
    if candidate.request_id.size() != 0:
        keep(store, request_key(plain, candidate),
             string_view(<const char *> &stored, sizeof(stored)))
    for i in range(plain.batch_serials.size()):
        batch_group(&plain.key, c'b', plain, plain.batch_serials[i])
        for shift in range(56, -1, -8):
            plain.key.push_back(<char> (sequence >> shift))
        keep(store, view_of_string(plain.key), string_view())
    for i in range(plain.codes.size()):
        code = &plain.codes[i]
        code.record.head = sequence
        store.live.put(
            code_key(plain, code),
            code.hash,
            string_view(<const char *> &code.record, sizeof(code.record)),
        )


cdef void append_verdict(
    Store store, Candidate *candidate, Plain *plain, uint64_t sequence
) noexcept nogil:
    """The verdict as it is answered: the bytes of tracecode.answer.plain_verdict."""
    cdef int64_t seconds = candidate.receive_time_ns // 1000000000
    cdef int64_t final_time = plain.time + store.guards.provisional_seconds
    cdef string *verdict = &store.verdicts
    cdef size_t i
    wire_append_number(verdict, 1, sequence)
    wire_append_number(verdict, 2, OUTCOME_ACCEPTED)
    for i in range(plain.notices.size()):
        append_notice(store, plain, i, verdict, 3, view_of_string(store.notice_tail_answered))
    if plain.notices.size() == 0:
        wire_append_text(verdict, 3, view_of_string(store.pass_finding))
    wire_append_number(verdict, 4, SEVERITY_INFO)
    wire_append_time(&plain.key, final_time, 0)
    wire_append_text(verdict, 5, view_of_string(plain.key))
    if seconds < final_time:
        wire_append_number(verdict, 6, 1)
    if store.rule_base_version.size() != 0:
        wire_append_text(verdict, 8, view_of_string(store.rule_base_version))
    wire_append_as_of(verdict, 9, sequence, candidate.receive_time_ns, &plain.key, &plain.body)
    store.verdict_ends.push_back(verdict.size())


cdef void append_notice(
    Store store, Plain *plain, size_t which, string *out, int number, string_view tail
) noexcept nogil:
    """A Finding of type STOCK_NEVER_RECEIVED with its evidence, as the rule of that name makes it."""
    cdef string evidence, finding
    wire_append_text(&evidence, 1, string_view(<const char *> b"receipt_codes", 13))
    wire_append_text(&evidence, 2, string_view(<const char *> b"not_uploaded", 12))
    wire_append_text(&evidence, 5, view_of_string(plain.institution_code))
    if plain.division_code.size() != 0:
        wire_append_text(&evidence, 6, view_of_string(plain.division_code))
    finding.append(store.notice_head)
    wire_append_number(&finding, 5, plain.notices[which].line_number)
    wire_append_text(&finding, 6, view_of_string(plain.notices[which].code))
    wire_append_text(&finding, 8, view_of_string(evidence))
    finding.append(tail.data(), tail.size())
    wire_append_text(out, number, view_of_string(finding))


cdef void append_key_text(string *out, string_view key) noexcept nogil:
    """tracecode.code.key_text of a code of 20 digits or of GS1; `key` begins with its table's byte."""
    cdef bint gs1 = key.data()[1] == c'G'
    cdef size_t i
    cdef uint8_t octet
    if gs1:
        out.append(<const char *> b"(01)", 4)
    for i in range(2, 9 if gs1 else key.size()):
        octet = <uint8_t> key.data()[i]
        out.push_back(<char> (48 + (octet >> 4)))
        out.push_back(<char> (48 + (octet & 15)))
    if gs1:
        out.append(<const char *> b"(21)", 4)
        out.append(key.data() + 9, key.size() - 9)


cdef inline int look_up(Store store, string_view key, string_view *value) noexcept nogil:
    return store.find(key, hash_key(key), value)


cdef inline void keep(Store store, string_view key, string_view value) noexcept nogil:
    store.live.put(key, hash_key(key), value)


cdef inline string_view code_key(Plain *plain, const PlainCode *code) noexcept nogil:
    """Good until the next code is added."""
    return string_view(plain.keys.data() + code.key_at, code.key_size)


cdef inline string_view request_key(Plain *plain, const Candidate *candidate) noexcept nogil:
    return numbered_key(&plain.key, c'r', plain.institution, 0, candidate.request_id)


cdef inline string_view package_group(string *key, char table, string_view code) noexcept nogil:
    """The key of a code's place in packages: its length, its key, then the other code."""
    key.clear()
    key.push_back(table)
    key.push_back(<char> code.size())
    key.append(code.data(), code.size())
    return view_of_string(key[0])
