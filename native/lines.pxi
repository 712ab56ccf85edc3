# The lines relation: journal entries become columns, without Python and without the GIL.
#
# tracecode/views/lines.py says what each column means and is the readable way, the oracle. What is not in the
# form that every encoder writes, and what has packages or scans that are not plainly one code, is left to it:
# the bytes of such entries are handed back, and their rows are put in their places afterwards.

from tracecode.document import FUTURE_SKEW_SECONDS as _FUTURE_SKEW_SECONDS
from tracecode.document import STOCK_CHANGE_OPERATIONS as _STOCK_CHANGE_OPERATIONS

cdef extern from "columns.h" namespace "tracecode" nogil:
    cdef enum ColumnKind "tracecode::Column::Kind":
        COLUMN_FIXED "tracecode::Column::FIXED"
        COLUMN_BOOLEAN "tracecode::Column::BOOLEAN"
        COLUMN_TEXT "tracecode::Column::TEXT"
        COLUMN_LIST "tracecode::Column::LIST"
    cdef cppclass Column:
        void begin(ColumnKind kind, bint nullable) noexcept
        void add_number(int64_t value, size_t width, size_t times) noexcept
        void add_decimal(int64_t value, size_t times) noexcept
        void add_flag(bint value, size_t times) noexcept
        void add_text(string_view text, size_t times) noexcept
        void add_item(int64_t item) noexcept
        void end_list() noexcept
        void add_null(size_t width) noexcept
        ColumnKind kind() noexcept
        bint nullable() noexcept
        size_t nulls() noexcept
        size_t rows() noexcept
        string_view values() noexcept
        string_view offsets() noexcept
        string_view valid() noexcept
    bint multiply_price "tracecode::multiply_price"(int64_t quantity, int64_t price, int64_t *fen) noexcept

cdef enum:
    # Columns of LINES in their order.
    L_SEQUENCE, L_RECEIVE_TIME, L_BUSINESS_TIME, L_BUSINESS_DAY, L_INSTITUTION, L_DIVISION, L_KIND
    L_OPERATION, L_STAGE, L_CHANGE_TYPE, L_CHANNEL, L_OFFLINE, L_NUMBER, L_CORRECTS, L_SETTLEMENT, L_VISIT
    L_SETTLEMENT_TYPE, L_PERSON, L_PRESCRIBER, L_PHARMACIST, L_OPERATOR, L_TERMINAL, L_PRESCRIPTION_NUMBER
    L_COUNTERPARTY, L_SALE_DOCUMENT, L_LINE_NUMBER, L_LINE_ROW, L_LINE_ROWS, L_DRUG_CODE, L_QUANTITY, L_SPLIT
    L_PRICE, L_AMOUNT, L_BATCH_SERIAL, L_LOT, L_EXPIRY, L_PRESCRIPTION_DRUG, L_GIFT, L_CODE, L_PRODUCT
    L_CODE_CLASS, L_IN_PACKAGE, L_SCAN, L_REFUSED, L_CLEARED, L_FINDINGS, L_SEVERITY
    LINES_COLUMNS

cdef enum:
    # Columns of FINDINGS in their order.
    F_ENTRY, F_SEQUENCE, F_REVISION, F_CAUSE, F_RECEIVE_TIME, F_TYPE, F_SEVERITY, F_FINAL_SEVERITY, F_MODE
    F_LINE_NUMBER, F_CODE, F_GRADE, F_REVISABLE
    FINDINGS_COLUMNS

cdef enum:
    # Field numbers of proto/tracecode/v1/journal.proto, document.proto and finding.proto.
    ENTRY_REVISION = 4
    ENTRY_FINDINGS = 4
    ENTRY_OUTCOME = 3
    DOCUMENT_TERMINAL = 5
    DOCUMENT_CHANNEL = 7
    DOCUMENT_SALE_RETURN = 17
    DOCUMENT_PURCHASE_RETURN = 19
    DOCUMENT_STOCK_CHANGE = 20
    DOCUMENT_STOCK_COUNT = 21
    LINE_PRESCRIPTION = 12
    LINE_UNIT_PRICE = 13
    LINE_FINAL_PRICE = 14
    LINE_GIFT = 22
    SALE_SETTLEMENT_ID = 2
    SALE_VISIT = 3
    SALE_SETTLEMENT_TYPE = 4
    SALE_PRESCRIPTION = 12
    RETURN_SALE_DOCUMENT = 1
    RETURN_PERSON = 5
    SUPPLIER_NAME = 1
    SUPPLIER_LICENCE = 2
    CHANGE_TYPE = 1
    CHANGE_COUNTERPARTY = 2
    REVISION_REVISED = 1
    REVISION_NUMBER = 2
    REVISION_CAUSE = 3
    FINDING_TYPE = 1
    FINDING_SEVERITY = 2
    FINDING_FINAL_SEVERITY = 3
    FINDING_MODE = 4
    FINDING_LINE = 5
    FINDING_CODE = 6
    FINDING_GRADE = 7
    FINDING_REVISABLE = 12
    # Numbers of the contract: DocumentKind, Operation, Outcome.
    KIND_SALE_RETURN = 2
    KIND_PURCHASE_RETURN = 4
    KIND_STOCK_CHANGE = 5
    KIND_STOCK_COUNT = 6
    OPERATION_RECEIVE = 1
    OPERATION_SALE = 2
    OPERATION_SPLIT_SALE = 3
    OPERATION_SALE_RETURN = 4
    OPERATION_SPLIT_RETURN = 5
    OPERATION_SUPPLIER_RETURN = 8
    OPERATION_COUNT = 10
    OUTCOME_REFUSED = 2
    STOCK_CHANGE_FIRST = 101
    STOCK_CHANGES = 8
    LEFT_BYTES_MAX = 16 << 20     # of entries handed back at once

cdef WireField WIRE_JOURNAL_ENTRY[WIRE_FIELDS_MAX]
cdef WireField WIRE_ANY_DOCUMENT[WIRE_FIELDS_MAX]
cdef WireField WIRE_SALE_RETURN[WIRE_FIELDS_MAX]
cdef WireField WIRE_PURCHASE_RETURN[WIRE_FIELDS_MAX]
cdef WireField WIRE_STOCK_CHANGE[WIRE_FIELDS_MAX]
cdef WireField WIRE_NOTHING[WIRE_FIELDS_MAX]
cdef WireField WIRE_REVISION[WIRE_FIELDS_MAX]
cdef WireField WIRE_FINDING[WIRE_FIELDS_MAX]
cdef int CHANGE_OPERATIONS[STOCK_CHANGES]
cdef int64_t LINES_FUTURE_SKEW = _FUTURE_SKEW_SECONDS


def _lines_load():
    """Fill the tables of what clearing does not read."""
    cdef int i
    text, number, label = (WIRE_TEXT, 128), (WIRE_NUMBER, 0), (WIRE_LABEL, KEPT_BYTES_MAX)
    time, part = (WIRE_TIME, 0), (WIRE_PART, 0)
    wire_declare(WIRE_JOURNAL_ENTRY, {1: time, 2: time, 3: part, 4: part})
    for i in range(WIRE_FIELDS_MAX):
        WIRE_ANY_DOCUMENT[i] = WIRE_DOCUMENT[i]
    # A deletion, 22, has no lines.
    wire_declare(WIRE_ANY_DOCUMENT, {17: part, 19: part, 20: part, 21: part})
    wire_declare(WIRE_SALE_RETURN, {1: text, 2: text, 3: text, 4: number, 5: text, 6: label})
    wire_declare(WIRE_PURCHASE_RETURN, {1: label, 2: label, 3: label, 4: label, 5: label})
    wire_declare(WIRE_STOCK_CHANGE, {1: number, 2: (WIRE_TEXT, 12)})
    wire_declare(WIRE_REVISION, {1: time, 2: number, 3: time, 4: (WIRE_REPEATED, 0), 5: label})
    wire_declare(WIRE_FINDING, {
        1: number, 2: number, 3: number, 4: number, 5: number, 6: label, 7: number, 8: (WIRE_REPEATED, 0),
        9: part, 10: part, 11: label, 12: (WIRE_FLAG, 0),
    })
    for i in range(STOCK_CHANGES):
        CHANGE_OPERATIONS[i] = int(_STOCK_CHANGE_OPERATIONS[STOCK_CHANGE_FIRST + i])


_lines_load()

cdef struct FindingRead:
    WireMessage fields
    bint is_named         # a row of the line that is being written bears its code

cdef struct LineRead:
    WireMessage fields
    uint32_t number
    size_t first          # of its readings
    size_t rows           # 0: nothing was scanned
    int64_t quantity
    int32_t expiry_day


cdef bint read_decimal(string_view text, int decimals, int64_t *value) noexcept nogil:
    """At most 12 digits, then at most so many decimals, as a whole number of the last decimal."""
    cdef const char *at = text.data()
    cdef size_t i = 0
    cdef int left = decimals
    value[0] = 0
    while i < text.size() and c'0' <= at[i] <= c'9':
        value[0] = value[0] * 10 + (at[i] - 48)
        i += 1
    if i == 0 or i > 12:
        return False
    if i < text.size():
        if at[i] != c'.' or i + 1 == text.size():
            return False
        i += 1
        while i < text.size():
            if left == 0 or not c'0' <= at[i] <= c'9':
                return False
            value[0] = value[0] * 10 + (at[i] - 48)
            left -= 1
            i += 1
    while left > 0:
        value[0] *= 10
        left -= 1
    return True


cdef void append_code(string *out, PlainReading *reading) noexcept nogil:
    """The canonical text of a key, as tracecode.code.key_text gives it."""
    cdef unsigned char *key = reading.key
    cdef int i
    if key[0] == c'E':
        out.append(<const char *> key + 1, <size_t> (reading.key_length - 1))
        return
    if key[0] == c'G':
        out.append(<const char *> b"(01)", <size_t> 4)
    for i in range(1, 11 if key[0] == c'N' else 8):
        out.push_back(<char> (48 + (key[i] >> 4)))
        out.push_back(<char> (48 + (key[i] & 15)))
    if key[0] == c'G':
        out.append(<const char *> b"(21)", <size_t> 4)
        out.append(<const char *> key + 8, <size_t> (reading.key_length - 8))


cdef class _Extraction:
    """Columns being filled."""

    cdef Column lines[LINES_COLUMNS]
    cdef Column findings[FINDINGS_COLUMNS]
    cdef vector[string] left              # entries that were not understood
    cdef size_t left_bytes
    cdef vector[string_view] line_views, scans, finding_views, evidence
    cdef vector[LineRead] line_reads
    cdef vector[FindingRead] finding_reads
    cdef vector[PlainReading] readings
    cdef vector[size_t] code_ends
    cdef string codes                     # canonical texts, one behind the other

    def __cinit__(self):
        cdef int i
        cdef ColumnKind kind
        for i in range(LINES_COLUMNS):
            kind = COLUMN_FIXED
            if i in (
                L_INSTITUTION, L_DIVISION, L_NUMBER, L_CORRECTS, L_SETTLEMENT, L_VISIT, L_PERSON,
                L_PRESCRIBER, L_PHARMACIST, L_OPERATOR, L_TERMINAL, L_PRESCRIPTION_NUMBER,
                L_COUNTERPARTY, L_SALE_DOCUMENT,
                L_DRUG_CODE, L_BATCH_SERIAL, L_LOT, L_CODE, L_PRODUCT, L_SCAN,
            ):
                kind = COLUMN_TEXT
            elif i in (
                L_OFFLINE, L_SPLIT, L_PRESCRIPTION_DRUG, L_GIFT, L_IN_PACKAGE, L_REFUSED, L_CLEARED
            ):
                kind = COLUMN_BOOLEAN
            elif i == L_FINDINGS:
                kind = COLUMN_LIST
            self.lines[i].begin(
                kind, i in (L_QUANTITY, L_PRICE, L_AMOUNT, L_EXPIRY, L_CODE, L_PRODUCT, L_SCAN)
            )
        for i in range(FINDINGS_COLUMNS):
            kind = COLUMN_TEXT if i == F_CODE else COLUMN_BOOLEAN if i == F_REVISABLE else COLUMN_FIXED
            self.findings[i].begin(kind, False)

    cdef void add(self, string_view entry) noexcept nogil:
        """Add the rows of an entry, or keep it for the readable way; it leaves no row behind then."""
        if not self.add_entry(entry):
            self.left.push_back(string(entry.data(), entry.size()))
            self.left_bytes += entry.size()

    cdef bint add_entry(self, string_view entry) noexcept nogil:
        cdef WireMessage fields, content
        cdef int64_t sequence, time
        if not wire_read(entry, WIRE_JOURNAL_ENTRY, &fields, NULL):
            return False
        sequence = <int64_t> fields.numbers[ENTRY_SEQUENCE]
        time = <int64_t> fields.numbers[ENTRY_RECEIVE_TIME]
        if sequence <= 0 or time <= 0:
            return False
        self.finding_views.clear()
        if fields.seen == (1 << ENTRY_SEQUENCE | 1 << ENTRY_RECEIVE_TIME | 1 << ENTRY_REVISION):
            if not wire_read(fields.texts[ENTRY_REVISION], WIRE_REVISION, &content, &self.finding_views):
                return False
            if not self.read_findings():
                return False
            self.add_findings(
                sequence, <int64_t> content.numbers[REVISION_REVISED],
                <int64_t> content.numbers[REVISION_NUMBER], <int64_t> content.numbers[REVISION_CAUSE], time,
            )
            return True
        if fields.seen != (1 << ENTRY_SEQUENCE | 1 << ENTRY_RECEIVE_TIME | 1 << ENTRY_DOCUMENT):
            return False
        if not wire_read(fields.texts[ENTRY_DOCUMENT], WIRE_DOCUMENT_ENTRY, &content, &self.finding_views):
            return False
        if not self.read_findings() or not self.add_document(&content, sequence, time):
            return False
        self.add_findings(sequence, sequence, 0, sequence, time)
        return True

    cdef bint read_findings(self) noexcept nogil:
        cdef size_t i
        self.finding_reads.resize(self.finding_views.size())
        for i in range(self.finding_views.size()):
            self.evidence.clear()
            if not wire_read(
                self.finding_views[i], WIRE_FINDING, &self.finding_reads[i].fields, &self.evidence
            ):
                return False
        return True

    cdef void add_findings(
        self, int64_t entry, int64_t sequence, int64_t revision, int64_t cause, int64_t time
    ) noexcept nogil:
        cdef Column *to = self.findings
        cdef WireMessage nothing
        cdef WireMessage *fields
        cdef size_t i
        cdef size_t rows = self.finding_reads.size()
        if rows == 0 and revision != 0:
            memset(<void *> &nothing, 0, sizeof(nothing))
            rows = 1
        for i in range(rows):
            fields = &self.finding_reads[i].fields if self.finding_reads.size() != 0 else &nothing
            to[F_TYPE].add_number(<int64_t> fields.numbers[FINDING_TYPE], 2, 1)
            to[F_SEVERITY].add_number(<int64_t> fields.numbers[FINDING_SEVERITY], 1, 1)
            to[F_FINAL_SEVERITY].add_number(<int64_t> fields.numbers[FINDING_FINAL_SEVERITY], 1, 1)
            to[F_MODE].add_number(<int64_t> fields.numbers[FINDING_MODE], 1, 1)
            to[F_LINE_NUMBER].add_number(<int64_t> fields.numbers[FINDING_LINE], 8, 1)
            to[F_CODE].add_text(fields.texts[FINDING_CODE], 1)
            to[F_GRADE].add_number(<int64_t> fields.numbers[FINDING_GRADE], 1, 1)
            to[F_REVISABLE].add_flag(fields.numbers[FINDING_REVISABLE] != 0, 1)
        to[F_ENTRY].add_number(entry, 8, rows)
        to[F_SEQUENCE].add_number(sequence, 8, rows)
        to[F_REVISION].add_number(revision, 4, rows)
        to[F_CAUSE].add_number(cause, 8, rows)
        to[F_RECEIVE_TIME].add_number(time // 1000, 8, rows)

    cdef bint add_document(
        self, WireMessage *entry, int64_t sequence, int64_t receive_time_ns
    ) noexcept nogil:
        """First everything is read; where that fails, nothing was added."""
        cdef WireMessage document, content, part
        cdef string_view institution, counterparty, sale_document, person, settlement, visit
        cdef int64_t time, kind, settlement_type, operation, split_operation, change_type
        cdef size_t i
        cdef size_t rows = 0
        cdef Column *to = self.lines
        self.line_views.clear()
        if not wire_read(entry.texts[ENTRY_DOCUMENT_BYTES], WIRE_ANY_DOCUMENT, &document, &self.line_views):
            return False
        institution = document.texts[DOCUMENT_INSTITUTION]
        if not is_institution_code(institution):
            return False
        if not wire_read(document.texts[DOCUMENT_TIME], WIRE_TIMESTAMP, &part, NULL):
            return False
        time = <int64_t> part.numbers[TIMESTAMP_SECONDS]
        if not BUSINESS_TIME_MIN <= time < BUSINESS_TIME_MAX:
            return False
        if time > receive_time_ns // 1000000000 + LINES_FUTURE_SKEW:
            time = receive_time_ns // 1000000000
        settlement_type = change_type = 0
        operation = 0
        split_operation = 0
        if document.seen >> 16 == 1 << (DOCUMENT_SALE - 16):
            kind, operation, split_operation = KIND_SALE, OPERATION_SALE, OPERATION_SPLIT_SALE
            if not wire_read(document.texts[DOCUMENT_SALE], WIRE_SALE, &content, NULL):
                return False
            person = content.texts[SALE_PERSON]
            settlement, visit = content.texts[SALE_SETTLEMENT_ID], content.texts[SALE_VISIT]
            settlement_type = <int64_t> content.numbers[SALE_SETTLEMENT_TYPE]
        elif document.seen >> 16 == 1 << (DOCUMENT_SALE_RETURN - 16):
            kind, operation, split_operation = KIND_SALE_RETURN, OPERATION_SALE_RETURN, OPERATION_SPLIT_RETURN
            if not wire_read(document.texts[DOCUMENT_SALE_RETURN], WIRE_SALE_RETURN, &content, NULL):
                return False
            person = content.texts[RETURN_PERSON]
            settlement, visit = content.texts[SALE_SETTLEMENT_ID], content.texts[SALE_VISIT]
            settlement_type = <int64_t> content.numbers[SALE_SETTLEMENT_TYPE]
            sale_document = content.texts[RETURN_SALE_DOCUMENT]
        elif document.seen >> 16 == 1 << (DOCUMENT_RECEIPT - 16):
            kind = KIND_RECEIPT
            operation = split_operation = OPERATION_RECEIVE
            if not wire_read(document.texts[DOCUMENT_RECEIPT], WIRE_RECEIPT, &content, NULL):
                return False
        elif document.seen >> 16 == 1 << (DOCUMENT_PURCHASE_RETURN - 16):
            kind = KIND_PURCHASE_RETURN
            operation = split_operation = OPERATION_SUPPLIER_RETURN
            if not wire_read(document.texts[DOCUMENT_PURCHASE_RETURN], WIRE_PURCHASE_RETURN, &content, NULL):
                return False
        elif document.seen >> 16 == 1 << (DOCUMENT_STOCK_CHANGE - 16):
            kind = KIND_STOCK_CHANGE
            if not wire_read(document.texts[DOCUMENT_STOCK_CHANGE], WIRE_STOCK_CHANGE, &content, NULL):
                return False
            change_type = <int64_t> content.numbers[CHANGE_TYPE]
            if not STOCK_CHANGE_FIRST <= change_type < STOCK_CHANGE_FIRST + STOCK_CHANGES:
                return False
            operation = split_operation = CHANGE_OPERATIONS[change_type - STOCK_CHANGE_FIRST]
            counterparty = content.texts[CHANGE_COUNTERPARTY]
        elif document.seen >> 16 == 1 << (DOCUMENT_STOCK_COUNT - 16):
            kind = KIND_STOCK_COUNT
            operation = split_operation = OPERATION_COUNT
            if not wire_read(document.texts[DOCUMENT_STOCK_COUNT], WIRE_NOTHING, &content, NULL):
                return False
        else:
            return False
        if kind == KIND_RECEIPT or kind == KIND_PURCHASE_RETURN:
            counterparty = content.texts[SUPPLIER_LICENCE]
            if counterparty.size() == 0:
                counterparty = content.texts[SUPPLIER_NAME]
        self.line_reads.resize(self.line_views.size())
        self.readings.clear()
        self.codes.clear()
        self.code_ends.assign(1, 0)
        for i in range(self.line_views.size()):
            if not self.read_line(&self.line_reads[i], self.line_views[i], i):
                return False
            rows += max(self.line_reads[i].rows, <size_t> 1)
        for i in range(self.line_reads.size()):
            self.add_line(&self.line_reads[i], operation, split_operation)
        to[L_SEQUENCE].add_number(sequence, 8, rows)
        to[L_RECEIVE_TIME].add_number(receive_time_ns // 1000, 8, rows)
        to[L_BUSINESS_TIME].add_number(time * 1000000, 8, rows)
        to[L_BUSINESS_DAY].add_number((time + CHINA_SECONDS) // DAY_SECONDS, 4, rows)
        to[L_INSTITUTION].add_text(institution, rows)
        to[L_DIVISION].add_text(string_view(institution.data() + 1, 6), rows)
        to[L_KIND].add_number(kind, 1, rows)
        to[L_STAGE].add_number(<int64_t> content.numbers[SALE_STAGE] if kind == KIND_SALE else 0, 1, rows)
        to[L_CHANGE_TYPE].add_number(change_type, 2, rows)
        to[L_CHANNEL].add_number(<int64_t> document.numbers[DOCUMENT_CHANNEL], 4, rows)
        to[L_OFFLINE].add_flag(document.numbers[DOCUMENT_OFFLINE] != 0, rows)
        to[L_NUMBER].add_text(document.texts[DOCUMENT_NUMBER], rows)
        to[L_CORRECTS].add_text(document.texts[DOCUMENT_CORRECTS], rows)
        to[L_SETTLEMENT].add_text(settlement, rows)
        to[L_VISIT].add_text(visit, rows)
        to[L_SETTLEMENT_TYPE].add_number(settlement_type, 4, rows)
        to[L_PERSON].add_text(person, rows)
        to[L_OPERATOR].add_text(document.texts[DOCUMENT_OPERATOR], rows)
        to[L_TERMINAL].add_text(document.texts[DOCUMENT_TERMINAL], rows)
        if kind != KIND_SALE:
            memset(<void *> &content, 0, sizeof(content))
        to[L_PRESCRIBER].add_text(content.texts[SALE_PRESCRIBER], rows)
        to[L_PHARMACIST].add_text(content.texts[SALE_PHARMACIST], rows)
        to[L_PRESCRIPTION_NUMBER].add_text(content.texts[SALE_PRESCRIPTION], rows)
        to[L_COUNTERPARTY].add_text(counterparty, rows)
        to[L_SALE_DOCUMENT].add_text(sale_document, rows)
        to[L_IN_PACKAGE].add_flag(False, rows)
        to[L_REFUSED].add_flag(entry.numbers[ENTRY_OUTCOME] == OUTCOME_REFUSED, rows)
        to[L_CLEARED].add_flag(entry.numbers[ENTRY_CLEARED] != 0, rows)
        return True

    cdef bint read_line(self, LineRead *line, string_view message, size_t place) noexcept nogil:
        cdef PlainReading reading
        cdef size_t i
        self.scans.clear()
        if not wire_read(message, WIRE_LINE, &line.fields, &self.scans):
            return False
        line.number = <uint32_t> line.fields.numbers[LINE_NUMBER]
        if line.number == 0:
            line.number = <uint32_t> (place + 1)
        if not read_decimal(line.fields.texts[LINE_QUANTITY], 4, &line.quantity):
            return False
        if not read_day(line.fields.texts[LINE_EXPIRY], &line.expiry_day):
            return False
        line.first = self.readings.size()
        line.rows = self.scans.size()
        for i in range(line.rows):
            if not read_plain(
                <const unsigned char *> self.scans[i].data(), <Py_ssize_t> self.scans[i].size(), &reading
            ):
                return False
            append_code(&self.codes, &reading)
            self.code_ends.push_back(self.codes.size())
            self.readings.push_back(reading)
        return True

    cdef string_view code_at(self, size_t place) noexcept nogil:
        return string_view(
            self.codes.data() + self.code_ends[place], self.code_ends[place + 1] - self.code_ends[place]
        )

    cdef void add_line(self, LineRead *line, int64_t operation, int64_t split_operation) noexcept nogil:
        cdef Column *to = self.lines
        cdef size_t rows = max(line.rows, <size_t> 1)
        cdef bint split = line.fields.numbers[LINE_SPLIT] != 0
        cdef int64_t price = 0, amount = 0
        cdef bint priced = read_decimal(line.fields.texts[LINE_FINAL_PRICE], 6, &price)
        cdef string_view lot
        cdef PlainReading *reading
        cdef size_t row
        if not priced:
            priced = read_decimal(line.fields.texts[LINE_UNIT_PRICE], 6, &price)
        to[L_OPERATION].add_number(split_operation if split else operation, 1, rows)
        to[L_LINE_NUMBER].add_number(line.number, 8, rows)
        to[L_LINE_ROWS].add_number(<int64_t> rows, 4, rows)
        to[L_DRUG_CODE].add_text(line.fields.texts[LINE_DRUG_CODE], rows)
        to[L_SPLIT].add_flag(split, rows)
        to[L_BATCH_SERIAL].add_text(line.fields.texts[LINE_BATCH_SERIAL], rows)
        to[L_PRESCRIPTION_DRUG].add_flag(line.fields.numbers[LINE_PRESCRIPTION] != 0, rows)
        to[L_GIFT].add_flag(line.fields.numbers[LINE_GIFT] != 0, rows)
        for row in range(rows):
            to[L_LINE_ROW].add_number(<int64_t> row, 4, 1)
            to[L_SCAN].add_null(0)
            if row == 0:
                to[L_QUANTITY].add_decimal(line.quantity, 1)
            else:
                to[L_QUANTITY].add_null(16)
            if priced:
                to[L_PRICE].add_decimal(price, 1)
            else:
                to[L_PRICE].add_null(16)
            if row == 0 and priced and multiply_price(line.quantity, price, &amount):
                to[L_AMOUNT].add_decimal(amount, 1)
            else:
                to[L_AMOUNT].add_null(16)
            lot = line.fields.texts[LINE_LOT]
            if line.rows == 0:
                to[L_LOT].add_text(lot, 1)
                self.add_expiry(line.expiry_day, -1)
                to[L_CODE].add_null(0)
                to[L_PRODUCT].add_null(0)
                to[L_CODE_CLASS].add_number(0, 1, 1)
                continue
            reading = &self.readings[line.first + row]
            if lot.size() == 0:
                lot = string_view(<const char *> reading.lot, <size_t> reading.lot_length)
            to[L_LOT].add_text(lot, 1)
            self.add_expiry(line.expiry_day, reading.expiry_days)
            to[L_CODE].add_text(self.code_at(line.first + row), 1)
            if reading.code_class == CODE_TWENTY_DIGIT or reading.code_class == CODE_GS1:
                to[L_PRODUCT].add_text(
                    string_view(<const char *> reading.identifier, <size_t> reading.identifier_length), 1
                )
            else:
                to[L_PRODUCT].add_null(0)
            to[L_CODE_CLASS].add_number(reading.code_class, 1, 1)
        self.add_found(line, rows)

    cdef void add_expiry(self, int32_t said, int read) noexcept nogil:
        if said != NO_DAY:
            self.lines[L_EXPIRY].add_number(said, 4, 1)
        elif read >= 0:
            self.lines[L_EXPIRY].add_number(read, 4, 1)
        else:
            self.lines[L_EXPIRY].add_null(4)

    cdef void add_found(self, LineRead *line, size_t rows) noexcept nogil:
        """What was found about each row of a line: `_findings_of_line` in tracecode/views/lines.py."""
        cdef Column *to = self.lines
        cdef FindingRead *finding
        cdef string_view code, named
        cdef uint64_t severity
        cdef size_t row, i
        for i in range(self.finding_reads.size()):
            finding = &self.finding_reads[i]
            finding.is_named = False
            named = finding.fields.texts[FINDING_CODE]
            if finding.fields.numbers[FINDING_LINE] != line.number or named.size() == 0:
                continue
            for row in range(line.rows):
                finding.is_named |= equals(self.code_at(line.first + row), named)
        for row in range(rows):
            code = self.code_at(line.first + row) if line.rows != 0 else string_view()
            severity = 0
            for i in range(self.finding_reads.size()):
                finding = &self.finding_reads[i]
                if finding.fields.numbers[FINDING_LINE] not in (0, line.number):
                    continue
                named = finding.fields.texts[FINDING_CODE]
                if named.size() != 0 and not equals(code, named):
                    if finding.fields.numbers[FINDING_LINE] == 0 or finding.is_named:
                        continue
                to[L_FINDINGS].add_item(<int64_t> finding.fields.numbers[FINDING_TYPE])
                severity = max(severity, finding.fields.numbers[FINDING_FINAL_SEVERITY])
            to[L_FINDINGS].end_list()
            to[L_SEVERITY].add_number(<int64_t> severity, 1, 1)

    cdef tuple write(self):
        """The columns' buffers, and the entries that were left."""
        cdef list left = [bytes_of(view_of_string(self.left[i])) for i in range(self.left.size())]
        return (
            (self.lines[L_SEQUENCE].rows(), [buffers_of(&self.lines[i]) for i in range(LINES_COLUMNS)]),
            (
                self.findings[F_ENTRY].rows(),
                [buffers_of(&self.findings[i]) for i in range(FINDINGS_COLUMNS)],
            ),
            left,
        )


cdef tuple buffers_of(Column *column):
    """Bitmap of what is not null (None: all), offsets (None: fixed width), values, and the count of nulls."""
    return (
        bytes_of(column.valid()) if column.nullable() else None,
        bytes_of(column.offsets()) if column.kind() in (COLUMN_TEXT, COLUMN_LIST) else None,
        bytes_of(column.values()),
        column.nulls(),
    )


def extract_entries(list entries not None):
    """The columns of entries: (rows, buffers) of LINES and of FINDINGS, in the order of their schemas, and
    the entries that are left to tracecode.views.lines.extract."""
    cdef _Extraction extraction = _Extraction()
    cdef bytes entry
    for entry in entries:
        extraction.add(view_of(entry))
    return extraction.write()


def extract_journal(Store store not None, uint64_t after, size_t entries_max, size_t rows_max):
    """The same of the durable entries behind `after`, until there are so many entries or (at least) rows; and
    the last of them. Raises DataLoss if one of them is missing or does not match its checksum."""
    cdef _Extraction extraction = _Extraction()
    cdef uint64_t last = after
    cdef int code
    store._check_open()
    store.reading += 1
    try:
        with nogil:
            code = extract_range(store, extraction, &last, entries_max, rows_max)
    finally:
        store.reading -= 1
    if code == MISSING or code == CORRUPT:
        raise store._entry_lost(last + 1, "is missing" if code == MISSING else "does not match its checksum")
    if code != 0:
        raise lmdb_error(code, f"reading {store.directory}/journal")
    return last, extraction.write()


cdef int extract_range(
    Store store, _Extraction extraction, uint64_t *last, size_t entries_max, size_t rows_max
) noexcept nogil:
    cdef lmdb.Txn *txn = NULL
    cdef lmdb.Cursor *cursor = NULL
    cdef lmdb.Val key, stored
    cdef uint64_t sequence = last[0] + 1
    cdef uint32_t crc
    cdef uint64_t durable = store.durable
    cdef size_t done = 0
    cdef const char *data
    cdef int code = store.begin_read(store.journal_env, &txn)
    if code != 0:
        return code
    key.size, key.data = sizeof(sequence), &sequence
    code = lmdb.cursor_open(txn, store.journal_dbi, &cursor)
    if code == 0:
        code = lmdb.cursor_get(cursor, &key, &stored, lmdb.SET_RANGE)
    while code == 0 and done < entries_max:
        if key.size != sizeof(sequence) or memcmp(key.data, &sequence, sizeof(sequence)) != 0:
            code = MISSING
            break
        data = <const char *> stored.data
        if stored.size < 4:
            code = CORRUPT
            break
        memcpy(&crc, data, 4)
        if crc32c_extend(0, data + 4, stored.size - 4) != crc:
            code = CORRUPT
            break
        extraction.add(string_view(data + 4, stored.size - 4))
        last[0] = sequence
        sequence += 1
        done += 1
        if extraction.lines[L_SEQUENCE].rows() >= rows_max or extraction.left_bytes >= LEFT_BYTES_MAX:
            break
        code = lmdb.cursor_get(cursor, &key, &stored, lmdb.NEXT)
    if code == lmdb.NOT_FOUND:
        code = 0 if sequence > durable else MISSING
    if cursor != NULL:
        lmdb.cursor_close(cursor)
    lmdb.txn_abort(txn)
    return code
