# Questions: VerifyCodes of codes that are plainly in order, from the bytes of the request to those of the
# answer. What is not plain is left to the judge; so nothing is accused of here, as in clearing.pxi, whose
# checks these are: a question is a sale of whole packs that is not recorded.

cdef enum:
    # Field numbers of proto/tracecode/v1/ledger_service.proto and code.proto.
    VERIFY_INSTITUTION = 1
    VERIFY_TIME = 3
    QUESTION_CODE = 1
    QUESTION_DRUG_CODE = 2
    QUESTIONS_MAX = 1000              # as in tracecode/engine/store_engine.py

cdef WireField WIRE_VERIFY[WIRE_FIELDS_MAX]
cdef WireField WIRE_QUESTION[WIRE_FIELDS_MAX]

# 3 of a question are the units of a split pack, which is never plain.
wire_declare(WIRE_VERIFY, {
    1: (WIRE_TEXT, 12), 2: (WIRE_REPEATED, 0), 3: (WIRE_PART, 0), 4: (WIRE_LABEL, 128), 5: (WIRE_NUMBER, 0),
})
wire_declare(WIRE_QUESTION, {1: (WIRE_LABEL, SCAN_OCTETS_MAX), 2: (WIRE_TEXT, 50)})


cdef bint answer_question(Store store, string_view request, int64_t now_ns) noexcept nogil:
    """Answer a VerifyCodesRequest into `store.answer`; False if any code is not plain. Under the mutex."""
    cdef Plain *plain = &store.question
    cdef WireMessage fields, time
    cdef PlainLine line
    cdef Wanted wanted
    cdef int64_t now = now_ns // 1000000000
    cdef size_t i
    plain.reset()
    store.readings.clear()
    if not wire_read(request, WIRE_VERIFY, &fields, &plain.lines):
        return False
    if not 1 <= plain.lines.size() <= QUESTIONS_MAX:
        return False
    plain.kind = KIND_SALE
    plain.time = now
    if fields.seen >> VERIFY_TIME & 1:
        if not wire_read(fields.texts[VERIFY_TIME], WIRE_TIMESTAMP, &time, NULL):
            return False
        plain.time = <int64_t> time.numbers[TIMESTAMP_SECONDS]
    if not BUSINESS_TIME_MIN <= plain.time < BUSINESS_TIME_MAX:
        return False
    if not is_institution_code(fields.texts[VERIFY_INSTITUTION]):
        return False
    if not check_reporter(store, plain, fields.texts[VERIFY_INSTITUTION], now):
        return False
    line.expiry_day = NO_DAY
    line.lot = string_view()
    store.readings.resize(plain.lines.size())
    for i in range(plain.lines.size()):
        if not wire_read(plain.lines[i], WIRE_QUESTION, &fields, NULL):
            return False
        line.number = <uint32_t> (i + 1)
        line.drug_code = fields.texts[QUESTION_DRUG_CODE]
        if line.drug_code.size() == 0:
            return False
        if not check_scan(store, plain, &line, fields.texts[QUESTION_CODE], &store.readings[i]):
            return False
        if store.readings[i].repairs != 0 or not scan_is_all_ascii(store.readings[i].scan):
            return False
    if not check_distinct(plain):
        return False
    store.wanted.clear()
    for i in range(plain.codes.size()):
        store.prefetch(plain.codes[i].hash)
        wanted.key = code_key(plain, &plain.codes[i])
        store.wanted.push_back(wanted)
    for i in range(plain.codes.size()):
        store.prefetch_records(plain.codes[i].hash)
    store.walk_pages()
    # `check_packages` looks for more: it must not meet the place where that is kept.
    plain.wanted.assign(store.wanted.begin(), store.wanted.end())
    for i in range(plain.codes.size()):
        if not check_sold_code(store, plain, plain.wanted[i].found, &plain.codes[i]):
            return False
    write_answer(store, request, now_ns)
    return True


cdef void write_answer(Store store, string_view request, int64_t now_ns) noexcept nogil:
    """VerifyCodesResponse: what each scan reads as, what is known of the code, that nothing was found."""
    cdef Plain *plain = &store.question
    cdef PlainReading *reading
    cdef string_view institution
    cdef WireMessage fields
    cdef size_t i
    cdef size_t notice = 0
    cdef bint known
    # Only the institution: the codes were read before.
    plain.lines.clear()
    wire_read(request, WIRE_VERIFY, &fields, &plain.lines)
    institution = fields.texts[VERIFY_INSTITUTION]
    store.answer.clear()
    for i in range(plain.codes.size()):
        reading = &store.readings[i]
        store.text.clear()
        append_key_text(&store.text, code_key(plain, &plain.codes[i]))
        store.part.clear()
        plain.body.clear()
        wire_append_text(&plain.body, 1, string_view(<const char *> reading.scan.at, reading.scan.length))
        wire_append_number(&plain.body, 2, <uint64_t> reading.code_class)
        wire_append_text(&plain.body, 3, view_of_string(store.text))
        wire_append_text(&plain.body, 4, identifier_of(reading))
        if reading.lot_length != 0:
            wire_append_text(&plain.body, 5, string_view(<const char *> reading.lot, reading.lot_length))
        if reading.expiry_days >= 0:
            append_day(&plain.key, reading.expiry_days)
            wire_append_text(&plain.body, 6, view_of_string(plain.key))
        wire_append_text(&store.part, 1, view_of_string(plain.body))

        plain.body.clear()
        wire_append_text(&plain.body, 1, view_of_string(store.text))
        # The record is what it would be after the sale; it counted one event less.
        known = plain.codes[i].record.event_count > 1
        wire_append_number(&plain.body, 2, STATE_IN_STOCK if known else STATE_UNKNOWN)
        if known:
            wire_append_text(&plain.body, 3, institution)
            wire_append_number(&plain.body, 8, plain.codes[i].record.event_count - 1)
        wire_append_text(&plain.body, 9, identifier_of(reading))
        wire_append_text(&store.part, 2, view_of_string(plain.body))

        if known:
            wire_append_text(&store.part, 3, view_of_string(store.pass_finding))
        else:
            append_notice(store, plain, notice, &store.part, 3, view_of_string(store.notice_tail_answered))
            notice += 1
        wire_append_number(&store.part, 4, SEVERITY_INFO)
        wire_append_text(&store.answer, 1, view_of_string(store.part))
    if store.rule_base_version.size() != 0:
        wire_append_text(&store.answer, 2, view_of_string(store.rule_base_version))
    wire_append_as_of(&store.answer, 3, store.durable, now_ns, &plain.key, &plain.body)


cdef inline string_view identifier_of(const PlainReading *reading) noexcept nogil:
    return string_view(<const char *> reading.identifier, reading.identifier_length)


cdef void append_day(string *out, int days) noexcept nogil:
    """Days since 1970-01-01 as yyyy-MM-dd, alone: what `read_day` reads."""
    # The years begin with March, so that a leap day ends its year; 400 of them have 146097 days.
    cdef int since = days + 719468
    cdef int era = since // 146097
    cdef int in_era = since - era * 146097
    cdef int year = (in_era - in_era // 1460 + in_era // 36524 - in_era // 146096) // 365
    cdef int in_year = in_era - (365 * year + year // 4 - year // 100)
    cdef int month = (5 * in_year + 2) // 153
    cdef int day = in_year - (153 * month + 2) // 5 + 1
    year += era * 400 + (1 if month >= 10 else 0)
    month += 3 if month < 10 else -9
    out.clear()
    append_digits(out, year, 1000)
    out.push_back(c'-')
    append_digits(out, month, 10)
    out.push_back(c'-')
    append_digits(out, day, 10)


cdef inline void append_digits(string *out, int number, int place) noexcept nogil:
    while place > 0:
        out.push_back(<char> (48 + number // place % 10))
        place //= 10
