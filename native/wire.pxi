# A strict reader of the protobuf wire format, for the messages that clearing looks at.
#
# It knows less than protobuf does, on purpose: what it does not expect makes a document not plain, never
# wrong, and the full path judges it. Expected is what an ordinary encoder writes: known fields in the order
# of their numbers, none that says nothing, shortest varints, valid UTF-8. So what is read here would be
# written again as the same bytes. Nothing is copied; what was read points into the
# document. The limits of texts are those of tracecode/document.py.

from tracecode import document as _document

cdef enum:
    # What a field is; 0 is a field that makes the document not plain.
    WIRE_TEXT = 1     # a string of at most `bytes_max` bytes without control or invisible characters
    WIRE_LABEL        # any string of at most `bytes_max` bytes
    WIRE_FLAG
    WIRE_NUMBER       # uint32, or an enum or int32 that is not negative
    WIRE_TIME         # int64
    WIRE_PART         # a message
    WIRE_REPEATED     # strings or messages in a row, looked at by the caller
    WIRE_FIELDS_MAX = 25

cdef enum:
    # Of a text that we have written ourselves; its bound was checked when it came.
    KEPT_BYTES_MAX = 1 << 20

cdef struct WireField:
    int kind
    size_t bytes_max

cdef struct WireMessage:
    # By field number. A field that is absent reads as empty and 0, as in proto3.
    uint32_t seen
    uint64_t numbers[WIRE_FIELDS_MAX]
    string_view texts[WIRE_FIELDS_MAX]

cdef WireField WIRE_DOCUMENT[WIRE_FIELDS_MAX]
cdef WireField WIRE_TIMESTAMP[WIRE_FIELDS_MAX]
cdef WireField WIRE_LINE[WIRE_FIELDS_MAX]
cdef WireField WIRE_SALE[WIRE_FIELDS_MAX]
cdef WireField WIRE_RECEIPT[WIRE_FIELDS_MAX]
cdef WireField WIRE_INSTITUTION[WIRE_FIELDS_MAX]

# A bit for each character of the basic plane that Python calls printable.
cdef uint8_t WIRE_PRINTABLE[0x2000]


cdef void wire_declare(WireField *fields, dict kinds):
    for number, (kind, bytes_max) in kinds.items():
        fields[<int> number].kind = kind
        fields[<int> number].bytes_max = bytes_max


def _wire_load():
    """Fill the tables; proto/tracecode/v1/document.proto has the numbers."""
    cdef int point
    flag, number, kept = (WIRE_FLAG, 0), (WIRE_NUMBER, 0), (WIRE_LABEL, KEPT_BYTES_MAX)
    line = {name: (WIRE_LABEL, bytes_max) for name, bytes_max in _document.LINE_LABELS.items()}
    supplier = {name: (WIRE_LABEL, bytes_max) for name, bytes_max in _document.SUPPLIER_LABELS.items()}
    certificate = (WIRE_LABEL, _document.CERTIFICATE_TYPE_BYTES_MAX)
    # 17 and 19 to 22 are the kinds of documents that are never plain.
    wire_declare(WIRE_DOCUMENT, {
        1: (WIRE_TEXT, 12), 2: (WIRE_TEXT, 64), 3: (WIRE_PART, 0), 4: (WIRE_REPEATED, 0), 5: (WIRE_TEXT, 64),
        6: (WIRE_TEXT, 128), 7: number, 8: flag, 9: (WIRE_TEXT, 64), 10: (WIRE_TEXT, 2000),
        16: (WIRE_PART, 0), 18: (WIRE_PART, 0),
    })
    wire_declare(WIRE_TIMESTAMP, {1: (WIRE_TIME, 0), 2: number})
    # 23 are packages, which are never plain.
    wire_declare(WIRE_LINE, {
        1: number, 2: (WIRE_TEXT, 50), 3: (WIRE_REPEATED, 0), 4: (WIRE_TEXT, 17), 5: flag, 6: (WIRE_TEXT, 64),
        7: (WIRE_TEXT, 30), 8: (WIRE_TEXT, 10), 9: (WIRE_TEXT, 10), 10: (WIRE_TEXT, 64), 11: (WIRE_TEXT, 400),
        12: flag, 13: line["unit_price"], 14: line["final_price"], 15: line["product_barcode"],
        16: (WIRE_TEXT, 200), 17: (WIRE_TEXT, 400), 18: line["pricing_unit_type"],
        19: line["fee_detail_number"], 20: line["shelf"], 21: number, 22: flag, 24: (WIRE_TEXT, 2000),
    })
    wire_declare(WIRE_SALE, {
        1: number, 2: (WIRE_TEXT, 128), 3: (WIRE_TEXT, 128), 4: number, 5: number, 6: (WIRE_TEXT, 128),
        7: certificate, 8: (WIRE_TEXT, 128), 9: certificate, 10: (WIRE_TEXT, 128), 11: certificate,
        12: (WIRE_TEXT, 128), 13: flag, 14: (WIRE_TEXT, 128),
    })
    wire_declare(WIRE_RECEIPT, {
        1: supplier["supplier_name"], 2: supplier["supplier_licence_number"],
        3: supplier["delivery_note_number"], 4: supplier["invoice_code"], 5: supplier["invoice_number"],
    })
    # proto/tracecode/v1/catalogue.proto.
    wire_declare(WIRE_INSTITUTION, {1: kept, 2: kept, 3: kept, 4: kept, 5: flag, 6: (WIRE_REPEATED, 0)})
    for point in range(0x10000):
        if chr(point).isprintable():
            WIRE_PRINTABLE[point // 8] |= 1 << (point % 8)


_wire_load()


cdef inline bint wire_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) noexcept nogil:
    """The next varint; False if it is cut off, too large, or not the shortest of its value."""
    cdef uint64_t result = 0
    cdef int shift = 0
    cdef uint8_t byte
    while at[0] < end:
        byte = at[0][0]
        at[0] += 1
        if shift == 63 and byte > 1:
            return False
        result |= (<uint64_t> (byte & 0x7F)) << shift
        if byte < 0x80:
            value[0] = result
            return byte != 0 or shift == 0
        shift += 7
    return False


cdef bint wire_is_text(string_view text, bint printable) noexcept nogil:
    """Whether it is UTF-8 (RFC 3629), and, if asked for, printable; characters beyond the basic plane are
    not taken for printable."""
    cdef const uint8_t *at = <const uint8_t *> text.data()
    cdef const uint8_t *end = at + text.size()
    cdef uint32_t point
    cdef int more
    while at < end:
        if at[0] < 0x80:
            if printable and (at[0] < 0x20 or at[0] == 0x7F):
                return False
            at += 1
            continue
        if 0xC2 <= at[0] <= 0xDF:
            point, more = at[0] & 0x1F, 1
        elif 0xE0 <= at[0] <= 0xEF:
            point, more = at[0] & 0x0F, 2
        elif 0xF0 <= at[0] <= 0xF4:
            point, more = at[0] & 0x07, 3
        else:
            return False
        if end - at <= more:
            return False
        if more > 1 and at[1] < 0x90 and (at[0] == 0xF0 or (at[0] == 0xE0 and at[1] < 0xA0)):
            return False    # a longer form than needed
        if (at[0] == 0xED and at[1] >= 0xA0) or (at[0] == 0xF4 and at[1] >= 0x90):
            return False    # a surrogate, or beyond U+10FFFF
        at += 1
        while more > 0:
            if at[0] & 0xC0 != 0x80:
                return False
            point = point << 6 | (at[0] & 0x3F)
            at += 1
            more -= 1
        if printable and (point > 0xFFFF or not WIRE_PRINTABLE[point // 8] >> (point % 8) & 1):
            return False
    return True


cdef bint wire_read(
    string_view message, const WireField *fields, WireMessage *out, vector[string_view] *repeated
) noexcept nogil:
    """Read a message by its table; False if it holds anything that is not expected. Strings and messages of
    a repeated field are added to `repeated`."""
    cdef const uint8_t *at = <const uint8_t *> message.data()
    cdef const uint8_t *end = at + message.size()
    cdef uint64_t tag, value
    cdef int number, kind
    cdef int last = 0
    cdef string_view text
    memset(<void *> out, 0, sizeof(WireMessage))
    while at < end:
        if not wire_varint(&at, end, &tag):
            return False
        if tag >> 3 >= WIRE_FIELDS_MAX:
            return False
        number = <int> (tag >> 3)
        kind = fields[number].kind
        if kind == 0:
            return False
        if number < last or (number == last and kind != WIRE_REPEATED):
            return False
        last = number
        out.seen |= <uint32_t> 1 << number
        if not wire_varint(&at, end, &value):
            return False
        if kind == WIRE_FLAG or kind == WIRE_NUMBER or kind == WIRE_TIME:
            if tag & 7 != 0:
                return False
            if kind == WIRE_FLAG and value > 1:
                return False
            if value == 0 or (kind == WIRE_NUMBER and value > 0x7FFFFFFF):
                return False
            out.numbers[number] = value
            continue
        if tag & 7 != 2 or value > <uint64_t> (end - at):
            return False
        text = string_view(<const char *> at, value)
        at += value
        if kind == WIRE_REPEATED:
            repeated.push_back(text)
            continue
        if value == 0 and kind != WIRE_PART:
            return False
        if kind == WIRE_TEXT and (value > fields[number].bytes_max or not wire_is_text(text, True)):
            return False
        if kind == WIRE_LABEL and (value > fields[number].bytes_max or not wire_is_text(text, False)):
            return False
        out.texts[number] = text
    return True


cdef inline void wire_append_varint(string *out, uint64_t value) noexcept nogil:
    while value >= 0x80:
        out.push_back(<char> (value | 0x80))
        value >>= 7
    out.push_back(<char> value)


cdef inline void wire_append_text(string *out, int number, string_view text) noexcept nogil:
    """A string, bytes or message field."""
    wire_append_varint(out, <uint64_t> number << 3 | 2)
    wire_append_varint(out, text.size())
    out.append(text.data(), text.size())


cdef inline void wire_append_number(string *out, int number, uint64_t value) noexcept nogil:
    wire_append_varint(out, <uint64_t> number << 3)
    wire_append_varint(out, value)


cdef void wire_append_time(string *out, int64_t seconds, int64_t nanos) noexcept nogil:
    """The content of a google.protobuf.Timestamp, alone."""
    out.clear()
    if seconds != 0:
        wire_append_number(out, 1, <uint64_t> seconds)
    if nanos != 0:
        wire_append_number(out, 2, <uint64_t> nanos)


cdef void wire_append_as_of(
    string *out, int number, uint64_t sequence, int64_t time_ns, string *time, string *as_of
) noexcept nogil:
    """An AsOf field; `time` and `as_of` are room to work in."""
    wire_append_time(time, time_ns // 1000000000, time_ns % 1000000000)
    as_of.clear()
    if sequence != 0:
        wire_append_number(as_of, 1, sequence)
    wire_append_text(as_of, 2, view_of_string(time[0]))
    wire_append_text(out, number, view_of_string(as_of[0]))
