# Reading a scan: the twin in C of tracecode/code.py, which explains every rule and names its source.
#
# Same order, same names: a reader who has read the oracle finds each of its functions here with the prefix
# scan_. Everything below the door works on bytes without the GIL. Text that is not ASCII is folded first by
# the oracle's own `fold` (one table for both), and goes on as UTF-8. Tables (application identifiers,
# escapes, placeholder words) are the oracle's and are copied into C arrays when the module is loaded, so
# that neither twin can fall behind. tests/test_code_twins.py holds the two together on any text.

from datetime import date as _date

from tracecode import code as _code

from libc.string cimport memchr, memcmp, memcpy, memset
from libcpp.vector cimport vector

cdef extern from "Python.h":
    const char* scan_utf8 "PyUnicode_AsUTF8AndSize"(object text, Py_ssize_t* size) except NULL
    int scan_is_ascii "PyUnicode_IS_ASCII"(object text) noexcept

cdef enum:
    # A scan has at most 4096 characters, each at most four bytes of UTF-8.
    SCAN_BYTES_MAX = 16384
    SCAN_ELEMENTS_MAX = 32
    SCAN_WORDS_MAX = 64

cdef enum:
    # CodeClass
    CODE_EMPTY = 1
    CODE_TWENTY_DIGIT = 2
    CODE_GS1 = 3
    CODE_ENTERPRISE = 4
    CODE_PLACEHOLDER = 5
    CODE_PRODUCT_BARCODE = 6
    CODE_STANDARD_DRUG_CODE = 7
    CODE_LOGISTIC_UNIT = 8
    CODE_AMBIGUOUS = 9
    CODE_MALFORMED = 10

cdef enum:
    # Repair
    REPAIR_INVISIBLE = 1
    REPAIR_INNER_SPACES = 4
    REPAIR_AIM_PREFIX = 8
    REPAIR_ESCAPED_SEPARATOR = 16
    REPAIR_LOST_SEPARATOR = 32
    REPAIR_LABEL_TEXT = 64
    REPAIR_URL = 128
    REPAIR_SPLIT = 256
    REPAIR_PADDED_GTIN = 512
    REPAIR_INPUT_METHOD = 1024
    REPAIR_BRACKETS = 2048

cdef enum:
    # Hint
    HINT_NONE = 0
    HINT_RESCAN = 1
    HINT_CAPS_LOCK = 2
    HINT_KEYBOARD_LAYOUT = 3
    HINT_SEPARATOR_LOST = 4
    HINT_SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE = 5
    HINT_SCAN_ONE_AT_A_TIME = 6
    HINT_CHECK_DIGIT = 7
    HINT_PLACEHOLDER = 8
    HINT_WRONG_LENGTH = 9
    HINT_NO_SERIAL = 10
    HINT_URL_WITHOUT_CODE = 11
    HINT_TWO_CANDIDATES = 12
    HINT_DRUG_CODE = 13
    HINT_PERSON_ID = 14
    HINT_NOT_SCANNED = 15

cdef enum:
    # What the AIM prefix says.
    SYMBOLOGY_UNSAID
    SYMBOLOGY_GS1
    SYMBOLOGY_OTHER

cdef enum:
    # The element strings that matter here: places in ScanElements.
    ELEMENT_SSCC
    ELEMENT_GTIN
    ELEMENT_LOT
    ELEMENT_PRODUCTION
    ELEMENT_EXPIRY
    ELEMENT_SERIAL
    ELEMENT_COUNT

cdef enum:
    # What a byte can be: bits in SCAN_SIGNS.
    SIGN_DIGIT = 1
    SIGN_LETTER = 2
    SIGN_SET_82 = 4
    SIGN_AROUND = 8
    SIGN_URL = 16
    SIGN_PLACEHOLDER = 32
    SIGN_ESCAPE = 64
    SIGN_ALNUM = 3

cdef struct ScanText:
    const unsigned char* at
    Py_ssize_t length

cdef struct PlainReading:
    # One scan as read. Days are counted from 1970-01-01; -1 stands for none. `text` holds the digits of a
    # product's barcode; where it is empty and there is no key, `scan` points into the caller's bytes.
    int code_class
    int hint
    unsigned int repairs
    int foreign_issuer
    int expiry_days
    int production_days
    int key_length
    int lot_length
    int identifier_length
    int text_length
    unsigned char key[128]
    unsigned char lot[20]
    unsigned char identifier[14]
    unsigned char text[20]
    ScanText scan

cdef struct ScanIdentifier:
    # tracecode.code.ApplicationIdentifier; `pack` is its bit among PACK_IDENTIFIERS or 0, `element` its
    # place in ScanElements or -1.
    unsigned char number_length
    unsigned char digits
    unsigned char length_min
    unsigned char length_max
    bint predefined
    bint is_date
    bint has_check_digit
    unsigned int pack
    int element

cdef struct ScanElements:
    ScanText values[ELEMENT_COUNT]

cdef struct ScanLost:
    int count
    bint serial
    bint whole
    int steps
    ScanElements elements

cdef struct ScanWord:
    unsigned char letters[32]
    int length
    bint inverted

cdef unsigned char SCAN_SIGNS[256]
cdef ScanIdentifier SCAN_IDENTIFIERS[1024]
cdef short SCAN_BY_TWO[100]
cdef short SCAN_BY_THREE[1000]
cdef short SCAN_BY_FOUR[10000]
cdef ScanWord SCAN_PLACEHOLDERS[SCAN_WORDS_MAX]
cdef int SCAN_PLACEHOLDER_COUNT = 0
cdef ScanWord SCAN_ESCAPES[SCAN_WORDS_MAX]
cdef int SCAN_ESCAPE_COUNT = 0
cdef ScanWord SCAN_PREFIXES[SCAN_WORDS_MAX]
cdef int SCAN_PREFIX_COUNT = 0
cdef int SCAN_PREFIX_GS1_COUNT = 0
cdef unsigned int SCAN_PACK_ATTRIBUTES = 0
cdef int SCAN_CENTURY_YEAR = 0
cdef int SCAN_STEPS_MAX = 0
cdef int SCAN_LENGTH_MAX = 0
cdef int SCAN_ENTERPRISE_MIN = 0
cdef int SCAN_ENTERPRISE_MAX = 0
cdef int SCAN_TOKEN_MIN = 0


cdef void scan_load_word(ScanWord* word, str letters, bint inverted):
    cdef bytes encoded = letters.encode("utf-8")
    if len(encoded) > 32:
        raise ValueError(f"{letters!r} is longer than 32 bytes: raise the size of ScanWord in read_scan.pxi")
    word.length = <int>len(encoded)
    word.inverted = inverted
    memcpy(word.letters, <const char*>encoded, word.length)


cdef int scan_load_tables() except -1:
    """Copy the oracle's tables into C arrays; called once, below, when the module is loaded."""
    global SCAN_PLACEHOLDER_COUNT, SCAN_ESCAPE_COUNT, SCAN_PACK_ATTRIBUTES, SCAN_CENTURY_YEAR, SCAN_STEPS_MAX
    global SCAN_LENGTH_MAX, SCAN_ENTERPRISE_MIN, SCAN_ENTERPRISE_MAX, SCAN_TOKEN_MIN
    global SCAN_PREFIX_COUNT, SCAN_PREFIX_GS1_COUNT
    cdef int byte, count, number
    cdef ScanIdentifier* identifier
    SCAN_CENTURY_YEAR = _code.CENTURY_WINDOW_YEAR
    SCAN_STEPS_MAX = _code.PARSE_STEPS_MAX
    SCAN_LENGTH_MAX = _code.SCAN_LENGTH_MAX
    SCAN_ENTERPRISE_MIN = _code.ENTERPRISE_LENGTH_MIN
    SCAN_ENTERPRISE_MAX = _code.ENTERPRISE_LENGTH_MAX
    SCAN_TOKEN_MIN = _code.URL_TOKEN_LENGTH_MIN
    if SCAN_LENGTH_MAX * 4 > SCAN_BYTES_MAX or _code.ELEMENTS_MAX != SCAN_ELEMENTS_MAX:
        raise ValueError("the sizes in read_scan.pxi are not those of tracecode/code.py: change both")
    if SCAN_ENTERPRISE_MAX > 127:
        raise ValueError("an enterprise's key no longer fits PlainReading.key in read_scan.pxi: lengthen it")

    for byte in range(256):
        SCAN_SIGNS[byte] = 0
        if 0x30 <= byte <= 0x39:
            SCAN_SIGNS[byte] |= SIGN_DIGIT
        if 0x41 <= byte <= 0x5A or 0x61 <= byte <= 0x7A:
            SCAN_SIGNS[byte] |= SIGN_LETTER
        if chr(byte) in _code.SET_82:
            SCAN_SIGNS[byte] |= SIGN_SET_82
        if chr(byte) in _code.AROUND_A_SCAN:
            SCAN_SIGNS[byte] |= SIGN_AROUND
        if 0x21 <= byte <= 0x7E and byte not in b"\"<>":
            SCAN_SIGNS[byte] |= SIGN_URL
        if chr(byte) in _code.PLACEHOLDER_SIGNS:
            SCAN_SIGNS[byte] |= SIGN_PLACEHOLDER

    for number in range(100):
        SCAN_BY_TWO[number] = -1
    for number in range(1000):
        SCAN_BY_THREE[number] = -1
    for number in range(10000):
        SCAN_BY_FOUR[number] = -1
    elements = {"00": ELEMENT_SSCC, "01": ELEMENT_GTIN, "10": ELEMENT_LOT}
    elements |= {"11": ELEMENT_PRODUCTION, "17": ELEMENT_EXPIRY, "21": ELEMENT_SERIAL}
    packs = {name: 1 << place for place, name in enumerate(sorted(_code.PACK_IDENTIFIERS))}
    SCAN_PACK_ATTRIBUTES = packs["10"] | packs["17"] | packs["21"]
    count = 0
    for name, entry in _code.APPLICATION_IDENTIFIERS.items():
        if count == 1024:
            raise ValueError("more than 1024 application identifiers: raise the size in read_scan.pxi")
        identifier = &SCAN_IDENTIFIERS[count]
        identifier.number_length = len(name)
        identifier.digits = entry.digits
        identifier.length_min = entry.length_min
        identifier.length_max = entry.length_max
        identifier.predefined = entry.predefined
        identifier.is_date = entry.is_date
        identifier.has_check_digit = entry.has_check_digit
        identifier.pack = packs.get(name, 0)
        identifier.element = elements.get(name, -1)
        number = int(name)
        if len(name) == 2:
            SCAN_BY_TWO[number] = count
        elif len(name) == 3:
            SCAN_BY_THREE[number] = count
        else:
            SCAN_BY_FOUR[number] = count
        count += 1

    for word in _code.PLACEHOLDER_WORDS:
        if SCAN_PLACEHOLDER_COUNT == SCAN_WORDS_MAX:
            raise ValueError("more than 64 placeholder words: raise SCAN_WORDS_MAX in read_scan.pxi")
        scan_load_word(&SCAN_PLACEHOLDERS[SCAN_PLACEHOLDER_COUNT], word, False)
        SCAN_PLACEHOLDER_COUNT += 1
    SCAN_PREFIX_GS1_COUNT = len(_code.AIM_PREFIXES_GS1)
    for word in _code.AIM_PREFIXES_GS1 + _code.AIM_PREFIXES_PLAIN:
        if SCAN_PREFIX_COUNT == SCAN_WORDS_MAX:
            raise ValueError("more than 64 AIM prefixes: raise SCAN_WORDS_MAX in read_scan.pxi")
        scan_load_word(&SCAN_PREFIXES[SCAN_PREFIX_COUNT], word, False)
        SCAN_PREFIX_COUNT += 1
    # The first that fits is taken, so "^]" stands before the sign "^".
    plain = [(word, False) for word in _code.SEPARATOR_ESCAPES]
    plain += [(word, True) for word in _code.SEPARATOR_ESCAPES_INVERTED]
    for word, inverted in plain + [(sign, False) for sign in _code.SEPARATOR_SIGNS]:
        if SCAN_ESCAPE_COUNT == SCAN_WORDS_MAX:
            raise ValueError("more than 64 separator escapes: raise SCAN_WORDS_MAX in read_scan.pxi")
        scan_load_word(&SCAN_ESCAPES[SCAN_ESCAPE_COUNT], word, inverted)
        SCAN_SIGNS[SCAN_ESCAPES[SCAN_ESCAPE_COUNT].letters[0]] |= SIGN_ESCAPE
        SCAN_ESCAPE_COUNT += 1
    return 0


scan_load_tables()
cdef dict scan_classes = {int(member): member for member in _code.CodeClass}
cdef dict scan_hints = {int(member): member for member in _code.Hint}


# Characters and texts -----------------------------------------------------------------------------------


cdef inline bint scan_is(unsigned char byte, int sign) noexcept nogil:
    return (SCAN_SIGNS[byte] & sign) != 0


cdef inline ScanText scan_text(const unsigned char* at, Py_ssize_t length) noexcept nogil:
    cdef ScanText text
    text.at = at
    text.length = length
    return text


cdef inline ScanText scan_strip(ScanText text, bint separators) noexcept nogil:
    """Drop what may surround a scan, and GS too when asked."""
    while text.length and (scan_is(text.at[0], SIGN_AROUND) or (separators and text.at[0] == 0x1D)):
        text.at += 1
        text.length -= 1
    while text.length and (
        scan_is(text.at[text.length - 1], SIGN_AROUND) or (separators and text.at[text.length - 1] == 0x1D)
    ):
        text.length -= 1
    return text


cdef inline ScanText scan_strip_gs(ScanText text) noexcept nogil:
    while text.length and text.at[0] == 0x1D:
        text.at += 1
        text.length -= 1
    while text.length and text.at[text.length - 1] == 0x1D:
        text.length -= 1
    return text


cdef inline bint scan_is_digits(const unsigned char* at, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t place
    for place in range(length):
        if not scan_is(at[place], SIGN_DIGIT):
            return False
    return length > 0


cdef inline bint scan_is_all_ascii(ScanText text) noexcept nogil:
    cdef Py_ssize_t place
    for place in range(text.length):
        if text.at[place] >= 0x80:
            return False
    return True


cdef inline bint scan_equals(ScanText text, const char* other, Py_ssize_t length) noexcept nogil:
    return text.length == length and memcmp(text.at, other, length) == 0


cdef inline bint scan_same(ScanText text, ScanText other) noexcept nogil:
    if text.length != other.length:
        return False
    return text.length == 0 or memcmp(text.at, other.at, text.length) == 0


cdef inline bint scan_starts(ScanText text, const char* other, Py_ssize_t length) noexcept nogil:
    return text.length >= length and memcmp(text.at, other, length) == 0


cdef Py_ssize_t scan_find(ScanText text, const char* word, Py_ssize_t length) noexcept nogil:
    """The place just behind the first occurrence of a word, or -1."""
    cdef Py_ssize_t place
    for place in range(text.length - length + 1):
        if memcmp(text.at + place, word, length) == 0:
            return place + length
    return -1


cdef inline unsigned char scan_lower(unsigned char byte) noexcept nogil:
    return byte + 32 if 0x41 <= byte <= 0x5A else byte


cdef Py_ssize_t scan_scheme(ScanText text, Py_ssize_t place) noexcept nogil:
    """The length of "http://" or "https://" in any case at a place, or 0."""
    cdef Py_ssize_t rest = text.length - place
    cdef const unsigned char* at = text.at + place
    if rest < 7 or scan_lower(at[0]) != 0x68 or scan_lower(at[1]) != 0x74:
        return 0
    if scan_lower(at[2]) != 0x74 or scan_lower(at[3]) != 0x70:
        return 0
    if memcmp(at + 4, b"://", 3) == 0:
        return 7
    if rest >= 8 and scan_lower(at[4]) == 0x73 and memcmp(at + 5, b"://", 3) == 0:
        return 8
    return 0


cdef bint scan_next_twenty(ScanText text, Py_ssize_t* place, ScanText* found) noexcept nogil:
    """The next 20 digits that touch no letter and no digit, from a place on."""
    cdef Py_ssize_t start
    while place[0] < text.length:
        if not scan_is(text.at[place[0]], SIGN_DIGIT):
            place[0] += 1
            continue
        start = place[0]
        while place[0] < text.length and scan_is(text.at[place[0]], SIGN_DIGIT):
            place[0] += 1
        if place[0] - start != 20:
            continue
        if start and scan_is(text.at[start - 1], SIGN_ALNUM):
            continue
        if place[0] < text.length and scan_is(text.at[place[0]], SIGN_ALNUM):
            continue
        found[0] = scan_text(text.at + start, 20)
        return True
    return False


cdef int scan_gather_twenty(ScanText text, unsigned char* first, int count) noexcept nogil:
    """Count the different 20 digits standing alone (2 for many), keeping the first; goes on from a count."""
    cdef Py_ssize_t place = 0
    cdef ScanText found
    while scan_next_twenty(text, &place, &found):
        if count == 0:
            memcpy(first, found.at, 20)
            count = 1
        elif memcmp(first, found.at, 20) != 0:
            count = 2
    return count


cdef int scan_hex(unsigned char byte) noexcept nogil:
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    byte = scan_lower(byte)
    return byte - 0x57 if 0x61 <= byte <= 0x66 else -1


cdef Py_ssize_t scan_percent_decode(ScanText text, unsigned char* decoded) noexcept nogil:
    """Undo percent-encoding byte by byte; the result is never longer than the text."""
    cdef Py_ssize_t place = 0, length = 0
    cdef int high, low
    while place < text.length:
        decoded[length] = text.at[place]
        if text.at[place] == 0x25 and place + 2 < text.length:
            high = scan_hex(text.at[place + 1])
            low = scan_hex(text.at[place + 2])
            if high >= 0 and low >= 0:
                decoded[length] = <unsigned char>(high * 16 + low)
                place += 2
        place += 1
        length += 1
    return length


# Readings -----------------------------------------------------------------------------------------------


cdef inline void scan_say(PlainReading* out, int code_class, int hint) noexcept nogil:
    """Begin a reading anew: of this class, with this hint, identifying nothing yet."""
    out.code_class = code_class
    out.hint = hint
    out.repairs = 0
    out.foreign_issuer = 0
    out.expiry_days = -1
    out.production_days = -1
    out.key_length = 0
    out.lot_length = 0
    out.identifier_length = 0
    out.text_length = 0


cdef inline bint scan_is_code(PlainReading* reading) noexcept nogil:
    return reading.key_length != 0 and reading.code_class != CODE_ENTERPRISE


cdef inline ScanText scan_payload(PlainReading* reading) noexcept nogil:
    if reading.key_length and reading.key[0] == 0x47:
        return scan_text(reading.key + 8, reading.key_length - 8)
    if reading.key_length and reading.key[0] == 0x45:
        return scan_text(reading.key + 1, reading.key_length - 1)
    return scan_text(reading.key, 0)


cdef inline void scan_pack(unsigned char* bcd, const unsigned char* digits, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t place
    for place in range(0, length, 2):
        bcd[place // 2] = <unsigned char>((digits[place] - 0x30) << 4 | (digits[place + 1] - 0x30))


cdef void scan_doubt_case(PlainReading* out) noexcept nogil:
    cdef ScanText payload = scan_payload(out)
    cdef Py_ssize_t place
    cdef unsigned int repairs = out.repairs
    for place in range(payload.length):
        if scan_is(payload.at[place], SIGN_LETTER):
            scan_say(out, CODE_AMBIGUOUS, HINT_CAPS_LOCK)
            out.repairs = repairs
            return
    for place in range(out.lot_length):
        if scan_is(out.lot[place], SIGN_LETTER):
            out.lot_length = 0
            break
    if out.key_length or out.code_class == CODE_AMBIGUOUS or out.code_class == CODE_MALFORMED:
        out.hint = HINT_CAPS_LOCK


cdef void scan_doubt_punctuation(PlainReading* out, ScanText text) noexcept nogil:
    cdef ScanText payload = scan_payload(out)
    cdef Py_ssize_t place
    cdef unsigned int repairs = out.repairs
    for place in range(payload.length):
        if not scan_is(payload.at[place], SIGN_ALNUM):
            scan_say(out, CODE_AMBIGUOUS, HINT_KEYBOARD_LAYOUT)
            out.repairs = repairs
            out.scan = text
            return
    for place in range(out.lot_length):
        if not scan_is(out.lot[place], SIGN_ALNUM):
            out.lot_length = 0
            break


cdef bint scan_is_placeholder(ScanText body) noexcept nogil:
    cdef unsigned char compact[32]
    cdef Py_ssize_t place
    cdef int length = 0, entry
    cdef bint same = True
    cdef unsigned char first = 0
    for place in range(body.length):
        if body.at[place] == 0x20:
            continue
        if length == 0:
            first = body.at[place]
        elif body.at[place] != first:
            same = False
        if length < 32:
            compact[length] = scan_lower(body.at[place])
        elif not same:
            # Longer than every word, and not one sign repeated.
            return False
        length += 1
    if length == 0:
        return False
    if same and (scan_is(first, SIGN_PLACEHOLDER) or (length > 1 and scan_is(first, SIGN_DIGIT))):
        return True
    if length > 32:
        return False
    for entry in range(SCAN_PLACEHOLDER_COUNT):
        if SCAN_PLACEHOLDERS[entry].length == length:
            if memcmp(SCAN_PLACEHOLDERS[entry].letters, compact, length) == 0:
                return True
    return False


cdef void scan_twenty_digits(const unsigned char* digits, PlainReading* out) noexcept nogil:
    if scan_is_placeholder(scan_text(digits, 20)):
        scan_say(out, CODE_PLACEHOLDER, HINT_PLACEHOLDER)
        return
    scan_say(out, CODE_TWENTY_DIGIT, HINT_NONE)
    out.key[0] = 0x4E
    scan_pack(out.key + 1, digits, 20)
    out.key_length = 11
    memcpy(out.identifier, digits, 7)
    out.identifier_length = 7
    out.foreign_issuer = digits[0] != 0x38


cdef void scan_enterprise(ScanText body, PlainReading* out) noexcept nogil:
    scan_say(out, CODE_ENTERPRISE, HINT_NONE)
    out.key[0] = 0x45
    memcpy(out.key + 1, body.at, body.length)
    out.key_length = <int>body.length + 1


# Several scans in one field -----------------------------------------------------------------------------


cdef bint scan_may_hold_several(ScanText text) noexcept nogil:
    """Whether a text has any mark at which it could be cut; most have none and need no list of parts."""
    cdef Py_ssize_t place
    cdef Py_ssize_t digits = 0
    cdef unsigned char byte
    for place in range(text.length):
        byte = text.at[place]
        if scan_is(byte, SIGN_DIGIT):
            digits += 1
        elif byte == 0x2C or byte == 0x3B or byte == 0x0D or byte == 0x0A or byte == 0x09:
            return True
        elif byte == 0x20:
            pass
        else:
            digits = -SCAN_BYTES_MAX
            if place and (byte == 0x5D or (scan_lower(byte) == 0x68 and scan_scheme(text, place))):
                return True
    return digits > 20 and digits % 20 == 0


cdef bint scan_next_begins(ScanText text, Py_ssize_t place) noexcept nogil:
    """Whether another scan begins at a place: an AIM prefix that drugs carry, or a URL."""
    cdef int entry
    if text.at[place] != 0x5D:
        return scan_scheme(text, place) != 0
    for entry in range(SCAN_PREFIX_COUNT):
        if scan_fits_word(text, place, &SCAN_PREFIXES[entry]):
            return True
    return False


cdef void scan_add_part(
    ScanText part, vector[PlainReading]* readings, vector[ScanText]* parts
) noexcept nogil:
    """Read a stripped part, or the codes of 20 digits that were glued together in it."""
    cdef unsigned char digits[SCAN_BYTES_MAX]
    cdef Py_ssize_t place, length = 0
    cdef PlainReading reading
    part = scan_strip(part, False)
    if part.length == 0:
        return
    scan_read_one(part, &reading)
    for place in range(part.length):
        if scan_is(part.at[place], SIGN_DIGIT):
            digits[length] = part.at[place]
            length += 1
        elif part.at[place] != 0x20:
            length = 0
            break
    if length > 20 and length % 20 == 0 and reading.code_class == CODE_MALFORMED:
        for place in range(0, length, 20):
            scan_read_one(scan_text(digits + place, 20), &reading)
            # The digits go away with this call, so a reading that has no key keeps them itself.
            memcpy(reading.text, digits + place, 20)
            reading.text_length = 20
            readings.push_back(reading)
            parts.push_back(scan_text(part.at, 0))
        return
    readings.push_back(reading)
    parts.push_back(part)


cdef void scan_read_fields(ScanText text, vector[PlainReading]* readings) noexcept nogil:
    cdef PlainReading whole
    cdef vector[ScanText] parts
    cdef Py_ssize_t start = 0, place = 0
    cdef size_t entry
    cdef unsigned char byte
    cdef bint all_codes = True, any_code = False, prefixed
    cdef ScanText before
    scan_read_one(text, &whole)
    if not scan_may_hold_several(text):
        readings.push_back(whole)
        return
    while place < text.length:
        byte = text.at[place]
        if byte == 0x2C or byte == 0x3B or byte == 0x0D or byte == 0x0A or byte == 0x09:
            scan_add_part(scan_text(text.at + start, place - start), readings, &parts)
            start = place + 1
        elif scan_next_begins(text, place):
            before = scan_text(text.at + start, place - start)
            prefixed = before.length == 3 and before.at[0] == 0x5D
            if before.length and not prefixed and scan_is_all_ascii(before):
                scan_add_part(before, readings, &parts)
                start = place
            # What was found is consumed; nothing else can begin within it.
            place += scan_scheme(text, place) - 1 if byte != 0x5D else 2
        place += 1
    scan_add_part(scan_text(text.at + start, text.length - start), readings, &parts)

    if parts.size() == 0 or (parts.size() == 1 and parts[0].length == text.length):
        readings.assign(1, whole)
        return
    for entry in range(readings.size()):
        if scan_is_code(&readings[0][entry]):
            any_code = True
        elif readings[0][entry].code_class != CODE_PLACEHOLDER:
            all_codes = False
    if all_codes and whole.code_class != CODE_GS1 and whole.code_class != CODE_LOGISTIC_UNIT:
        for entry in range(readings.size()):
            readings[0][entry].repairs |= REPAIR_SPLIT
        return
    if all_codes or (
        any_code
        and (
            whole.code_class == CODE_ENTERPRISE
            or whole.code_class == CODE_AMBIGUOUS
            or whole.code_class == CODE_MALFORMED
        )
    ):
        scan_say(&whole, CODE_AMBIGUOUS, HINT_SCAN_ONE_AT_A_TIME)
        whole.scan = text
    readings.assign(1, whole)


# One scan -----------------------------------------------------------------------------------------------


cdef void scan_read_one(ScanText text, PlainReading* out) noexcept nogil:
    cdef ScanText body = text
    cdef int symbology = SYMBOLOGY_UNSAID
    cdef bint inverted = False, retail
    cdef unsigned char first, second
    cdef int entry
    cdef Py_ssize_t start, end
    if text.length == 0:
        scan_say(out, CODE_EMPTY, HINT_NOT_SCANNED)
        out.scan = text
        return
    if (
        text.length >= 3
        and text.at[0] == 0x5D
        and scan_is(text.at[1], SIGN_LETTER)
        and scan_is(text.at[2], SIGN_ALNUM)
    ):
        first, second = text.at[1], text.at[2]
        body = scan_strip(scan_text(text.at + 3, text.length - 3), False)
        if first == 0x44 or first == 0x63 or first == 0x71 or first == 0x6A:
            inverted = True
        elif first == 0x45 and second == 0x30 and scan_starts(body, b"01", 2):
            retail = body.length == 8 or body.length == 12 or body.length == 13
            inverted = not (retail and scan_is_digits(body.at, body.length))
        if inverted:
            first ^= 0x20
            if scan_is(second, SIGN_LETTER):
                second ^= 0x20
        symbology = SYMBOLOGY_OTHER
        for entry in range(SCAN_PREFIX_GS1_COUNT):
            if SCAN_PREFIXES[entry].letters[1] == first and SCAN_PREFIXES[entry].letters[2] == second:
                symbology = SYMBOLOGY_GS1
    if scan_is_placeholder(body):
        scan_say(out, CODE_PLACEHOLDER, HINT_PLACEHOLDER)
    elif scan_find_url(body, &start, &end):
        scan_read_url(body, start, end, out)
    else:
        scan_read_content(body, symbology, out)
    if inverted:
        scan_doubt_case(out)
    if symbology != SYMBOLOGY_UNSAID:
        out.repairs |= REPAIR_AIM_PREFIX
    out.scan = text


cdef void scan_read_content(ScanText body, int symbology, PlainReading* out) noexcept nogil:
    cdef unsigned char digits[SCAN_BYTES_MAX]
    cdef ScanText bare = scan_strip_gs(body)
    cdef Py_ssize_t place, length = 0
    cdef bint only_digits = True
    for place in range(bare.length):
        if scan_is(bare.at[place], SIGN_DIGIT):
            digits[length] = bare.at[place]
            length += 1
        elif bare.at[place] != 0x20:
            only_digits = False
            break
    if only_digits and length:
        scan_read_digits(digits, length, symbology if bare.length == body.length else SYMBOLOGY_GS1, out)
        if length != bare.length:
            out.repairs |= REPAIR_INNER_SPACES
        return
    if scan_seven_and_thirteen(body, digits):
        scan_twenty_digits(digits, out)
        out.repairs |= REPAIR_LABEL_TEXT
        return
    if scan_read_gs1(body, symbology, out):
        return
    if scan_is_garbled_prefix(body):
        scan_say(out, CODE_AMBIGUOUS, HINT_KEYBOARD_LAYOUT)
        return
    if scan_is_all_ascii(body):
        scan_read_enterprise(body, out)
    else:
        scan_read_label(body, out)


cdef bint scan_seven_and_thirteen(ScanText body, unsigned char* digits) noexcept nogil:
    cdef Py_ssize_t place
    cdef unsigned char byte
    if not 21 <= body.length <= 23:
        return False
    if not scan_is_digits(body.at, 7) or not scan_is_digits(body.at + body.length - 13, 13):
        return False
    for place in range(7, body.length - 13):
        byte = body.at[place]
        if not (byte == 0x20 or byte == 0x2D or byte == 0x2B or byte == 0x09 or byte == 0x0D or byte == 0x0A):
            return False
    memcpy(digits, body.at, 7)
    memcpy(digits + 7, body.at + body.length - 13, 13)
    return True


cdef bint scan_is_garbled_prefix(ScanText body) noexcept nogil:
    cdef Py_ssize_t skipped = 0
    cdef int entry
    cdef ScanText rest
    if body.length and not scan_is(body.at[0], SIGN_ALNUM):
        skipped = 1
        while skipped < body.length and (body.at[skipped] & 0xC0) == 0x80:
            skipped += 1
    rest = scan_text(body.at + skipped, body.length - skipped)
    if rest.length < 18 or not scan_is_digits(rest.at + 2, 16) or rest.at[2] != 0x30 or rest.at[3] != 0x31:
        return False
    for entry in range(SCAN_PREFIX_GS1_COUNT):
        if memcmp(rest.at, &SCAN_PREFIXES[entry].letters[1], 2) == 0:
            return scan_check_digit_holds(rest.at + 4, 14)
    return False


cdef void scan_read_digits(
    const unsigned char* digits, Py_ssize_t length, int symbology, PlainReading* out
) noexcept nogil:
    cdef bint as_gtin, as_sscc, standard
    if length == 20:
        if digits[0] == 0x38 or symbology == SYMBOLOGY_OTHER:
            scan_twenty_digits(digits, out)
            return
        if symbology == SYMBOLOGY_UNSAID:
            as_gtin = digits[0] == 0x30 and digits[1] == 0x31 and scan_check_digit_holds(digits + 2, 14) and (
                memcmp(digits + 16, b"10", 2) == 0 or memcmp(digits + 16, b"21", 2) == 0
            )
            as_sscc = digits[0] == 0x30 and digits[1] == 0x30 and scan_check_digit_holds(digits + 2, 18)
            if as_gtin or as_sscc:
                scan_say(out, CODE_AMBIGUOUS, HINT_SEPARATOR_LOST)
            else:
                scan_twenty_digits(digits, out)
            return
    if (length == 8 or 12 <= length <= 14) and symbology != SYMBOLOGY_GS1:
        if not scan_check_digit_holds(digits, length):
            scan_say(out, CODE_MALFORMED, HINT_CHECK_DIGIT)
            return
        standard = length == 14 and memcmp(digits, b"869", 3) == 0
        scan_say(
            out,
            CODE_STANDARD_DRUG_CODE if standard else CODE_PRODUCT_BARCODE,
            HINT_SCAN_TRACE_CODE_NOT_PRODUCT_BARCODE,
        )
        memcpy(out.text, digits, length)
        out.text_length = <int>length
        if not standard:
            memset(out.identifier, 0x30, 14)
            memcpy(out.identifier + 14 - length, digits, length)
            out.identifier_length = 14
        return
    if scan_read_gs1(scan_text(digits, length), symbology, out):
        return
    if scan_is_person_id(scan_text(digits, length)):
        scan_say(out, CODE_MALFORMED, HINT_PERSON_ID)
    elif length > 20 and length % 20 == 0:
        scan_say(out, CODE_MALFORMED, HINT_SCAN_ONE_AT_A_TIME)
    elif 27 <= length <= SCAN_ENTERPRISE_MAX and digits[0] != 0x38:
        scan_enterprise(scan_text(digits, length), out)
    else:
        scan_say(out, CODE_MALFORMED, HINT_WRONG_LENGTH)


cdef Py_ssize_t scan_digits_behind(ScanText text, Py_ssize_t place, Py_ssize_t* length) noexcept nogil:
    """Where the first digits behind a place begin, and how many they are."""
    cdef Py_ssize_t start
    while place < text.length and not scan_is(text.at[place], SIGN_DIGIT):
        place += 1
    start = place
    while place < text.length and scan_is(text.at[place], SIGN_DIGIT):
        place += 1
    length[0] = place - start
    return start


cdef void scan_read_label(ScanText body, PlainReading* out) noexcept nogil:
    cdef unsigned char letters[SCAN_BYTES_MAX]
    cdef unsigned char first[20]
    cdef unsigned char joined[20]
    cdef ScanText tight
    cdef Py_ssize_t place, length = 0, product, serial, other, product_length, serial_length
    cdef int missing, count
    if scan_find(body, b"\xe5\x9b\xbd\xe8\x8d\xaf\xe5\x87\x86\xe5\xad\x97", 12) >= 0:  # 国药准字
        missing = HINT_DRUG_CODE
    elif (
        scan_find(body, b"\xe8\xbf\xbd\xe6\xba\xaf\xe7\xa0\x81", 9) >= 0  # 追溯码
        or scan_find(body, b"\xe6\xa0\x87\xe8\xaf\x86\xe7\xa0\x81", 9) >= 0  # 标识码
        or scan_find(body, b"\xe8\xb5\x84\xe6\xba\x90\xe7\xa0\x81", 9) >= 0  # 资源码
        or scan_find(body, b"\xe5\xba\x8f\xe5\x88\x97\xe5\x8f\xb7", 9) >= 0  # 序列号
        or scan_find(body, b"\xe7\x9b\x91\xe7\xae\xa1\xe7\xa0\x81", 9) >= 0  # 监管码
    ):
        missing = HINT_RESCAN
    else:
        scan_say(out, CODE_MALFORMED, HINT_KEYBOARD_LAYOUT)
        return
    for place in range(body.length):
        if (
            body.at[place] == 0x20
            and 0 < place < body.length - 1
            and scan_is(body.at[place - 1], SIGN_DIGIT)
            and scan_is(body.at[place + 1], SIGN_DIGIT)
        ):
            continue
        letters[length] = body.at[place]
        length += 1
    tight = scan_text(letters, length)
    count = scan_gather_twenty(tight, first, 0)
    product = scan_find(tight, b"\xe6\xa0\x87\xe8\xaf\x86\xe7\xa0\x81", 9)
    other = scan_find(tight, b"\xe8\xb5\x84\xe6\xba\x90\xe7\xa0\x81", 9)
    if product < 0 or 0 <= other < product:
        product = other
    serial = scan_find(tight, b"\xe5\xba\x8f\xe5\x88\x97\xe5\x8f\xb7", 9)
    if product >= 0 and serial >= 0:
        product = scan_digits_behind(tight, product, &product_length)
        serial = scan_digits_behind(tight, serial, &serial_length)
        if product_length == 7 and serial_length == 13:
            memcpy(joined, letters + product, 7)
            memcpy(joined + 7, letters + serial, 13)
            if count == 0:
                memcpy(first, joined, 20)
                count = 1
            elif memcmp(first, joined, 20) != 0:
                count = 2
    if count == 0:
        scan_say(out, CODE_MALFORMED, missing)
    elif count > 1:
        scan_say(out, CODE_AMBIGUOUS, HINT_TWO_CANDIDATES)
    else:
        scan_twenty_digits(first, out)
        out.repairs |= REPAIR_LABEL_TEXT


cdef bint scan_is_drug_code(ScanText body) noexcept nogil:
    """An NHSA drug code of 23 or 20 characters, or an approval number."""
    cdef const char* form
    cdef Py_ssize_t place
    cdef unsigned char byte
    # L a capital letter, V one of A to V, D a digit; any other stands for itself.
    if body.length == 23:
        form = b"XVDDLLLDDDLDDDDDDDDDDDD"
    elif body.length == 20:
        form = b"ZLDDLLLDDDDDDDDDDDDD"
    elif body.length == 9:
        form = b"NDDDDDDDD"
    elif body.length == 10:
        form = b"NCDDDDDDDD"
    else:
        return False
    for place in range(body.length):
        byte = body.at[place]
        if form[place] == c"D":
            if not scan_is(byte, SIGN_DIGIT):
                return False
        elif form[place] == c"L":
            if not 0x41 <= byte <= 0x5A:
                return False
        elif form[place] == c"V" and place == 1:
            if not 0x41 <= byte <= 0x56:
                return False
        elif form[place] == c"N":
            if memchr(b"HZSJTFB", byte, 7) == NULL:
                return False
        elif form[place] == c"C":
            if byte != 0x43 and byte != 0x4A:
                return False
        elif byte != <unsigned char>form[place]:
            return False
    return True


cdef bint scan_is_person_id(ScanText text) noexcept nogil:
    cdef const unsigned char* at = text.at
    cdef const char* checks = b"10X98765432"
    cdef int month, day, total = 0, weight = 1
    cdef Py_ssize_t place
    if text.length != 18 or not scan_is_digits(at, 17) or at[0] == 0x30:
        return False
    if memcmp(at + 6, b"19", 2) != 0 and memcmp(at + 6, b"20", 2) != 0:
        return False
    month = (at[10] - 0x30) * 10 + at[11] - 0x30
    day = (at[12] - 0x30) * 10 + at[13] - 0x30
    if not 1 <= month <= 12 or not 1 <= day <= 31:
        return False
    for place in range(16, -1, -1):
        weight = weight * 2 % 11
        total += (at[place] - 0x30) * weight
    if at[17] == 0x78:
        return checks[total % 11] == c"X"
    return <unsigned char>checks[total % 11] == at[17]


cdef bint scan_is_opaque(ScanText token, int length_min) noexcept nogil:
    cdef Py_ssize_t place
    cdef int digits = 0
    for place in range(token.length):
        if scan_is(token.at[place], SIGN_DIGIT):
            digits += 1
    return (token.length >= length_min and digits >= 4) or (token.length >= 16 and digits >= 1)


cdef bint scan_is_spelled_out(ScanText body) noexcept nogil:
    cdef Py_ssize_t place
    cdef int entry
    for place in range(body.length):
        if scan_is(body.at[place], SIGN_ESCAPE):
            for entry in range(SCAN_ESCAPE_COUNT):
                # A sign alone may stand in an enterprise's code; a word such as <GS> does not.
                if SCAN_ESCAPES[entry].length > 1 and scan_fits_word(body, place, &SCAN_ESCAPES[entry]):
                    return True
    return False


cdef inline bint scan_fits_word(ScanText text, Py_ssize_t place, ScanWord* word) noexcept nogil:
    return text.length - place >= word.length and memcmp(text.at + place, word.letters, word.length) == 0


cdef void scan_read_enterprise(ScanText body, PlainReading* out) noexcept nogil:
    cdef Py_ssize_t place
    cdef int digits = 0
    cdef bint signs_only = True, spaces = False
    cdef ScanText found
    for place in range(body.length):
        if not 0x20 <= body.at[place] <= 0x7E:
            scan_say(out, CODE_MALFORMED, HINT_RESCAN)
            return
        if scan_is(body.at[place], SIGN_ALNUM):
            signs_only = False
        if scan_is(body.at[place], SIGN_DIGIT):
            digits += 1
        if body.at[place] == 0x20:
            spaces = True
    place = 0
    if scan_is_drug_code(body):
        scan_say(out, CODE_MALFORMED, HINT_DRUG_CODE)
    elif scan_is_person_id(body):
        scan_say(out, CODE_MALFORMED, HINT_PERSON_ID)
    elif scan_is_spelled_out(body):
        scan_say(out, CODE_MALFORMED, HINT_SEPARATOR_LOST)
    elif scan_next_twenty(body, &place, &found):
        scan_say(out, CODE_AMBIGUOUS, HINT_TWO_CANDIDATES)
    elif body.length > SCAN_ENTERPRISE_MAX:
        scan_say(out, CODE_MALFORMED, HINT_WRONG_LENGTH)
    elif body.length >= SCAN_ENTERPRISE_MIN and signs_only:
        scan_say(out, CODE_MALFORMED, HINT_KEYBOARD_LAYOUT)
    elif body.length == 20 and body.at[0] == 0x38 and digits >= 17:
        scan_say(out, CODE_AMBIGUOUS, HINT_RESCAN)
    elif spaces or not scan_is_opaque(body, SCAN_ENTERPRISE_MIN):
        scan_say(out, CODE_MALFORMED, HINT_RESCAN)
    else:
        scan_enterprise(body, out)


# GS1 element strings ------------------------------------------------------------------------------------


cdef bint scan_check_digit_holds(const unsigned char* digits, Py_ssize_t length) noexcept nogil:
    cdef Py_ssize_t place
    cdef int total = 0
    for place in range(length):
        total += (digits[length - 1 - place] - 0x30) * (3 if place & 1 else 1)
    return total % 10 == 0


cdef int scan_read_date(const unsigned char* digits) noexcept nogil:
    """Six characters YYMMDD as days since 1970-01-01, or -1 when they are no day."""
    cdef int year, month, day, last, distance, era_year, day_of_year
    if not scan_is_digits(digits, 6):
        return -1
    year = (digits[0] - 0x30) * 10 + digits[1] - 0x30
    month = (digits[2] - 0x30) * 10 + digits[3] - 0x30
    day = (digits[4] - 0x30) * 10 + digits[5] - 0x30
    distance = year - SCAN_CENTURY_YEAR % 100
    year += SCAN_CENTURY_YEAR - SCAN_CENTURY_YEAR % 100
    if distance >= 51:
        year -= 100
    elif distance <= -50:
        year += 100
    if not 1 <= month <= 12:
        return -1
    if month == 2:
        last = 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    else:
        last = 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31
    if day > last:
        return -1
    if day == 0:
        day = last
    # Days from the civil calendar, with years that begin in March so that the leap day comes last.
    era_year = year - 1 if month <= 2 else year
    day_of_year = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    return era_year * 365 + era_year // 4 - era_year // 100 + era_year // 400 + day_of_year - 719468


cdef inline ScanIdentifier* scan_identifier_at(ScanText text, Py_ssize_t place) noexcept nogil:
    cdef const unsigned char* at = text.at + place
    cdef Py_ssize_t rest = text.length - place
    cdef int number, entry
    if rest < 2 or not scan_is(at[0], SIGN_DIGIT) or not scan_is(at[1], SIGN_DIGIT):
        return NULL
    number = (at[0] - 0x30) * 10 + at[1] - 0x30
    entry = SCAN_BY_TWO[number]
    if entry < 0 and rest >= 3 and scan_is(at[2], SIGN_DIGIT):
        number = number * 10 + at[2] - 0x30
        entry = SCAN_BY_THREE[number]
        if entry < 0 and rest >= 4 and scan_is(at[3], SIGN_DIGIT):
            entry = SCAN_BY_FOUR[number * 10 + at[3] - 0x30]
    return &SCAN_IDENTIFIERS[entry] if entry >= 0 else NULL


cdef bint scan_fits(ScanIdentifier* identifier, ScanText value) noexcept nogil:
    cdef Py_ssize_t place
    if not identifier.length_min <= value.length <= identifier.length_max:
        return False
    for place in range(value.length):
        if not scan_is(value.at[place], SIGN_DIGIT if place < identifier.digits else SIGN_SET_82):
            return False
    return not identifier.is_date or scan_read_date(value.at) >= 0


cdef bint scan_read_gs1(ScanText body, int symbology, PlainReading* out) noexcept nogil:
    cdef unsigned char letters[SCAN_BYTES_MAX]
    cdef ScanText text = body
    cdef bint has_gs, escaped = False, inverted = False
    has_gs = memchr(body.at, 0x1D, body.length) != NULL
    if not has_gs:
        text = scan_unescape(body, letters, &escaped, &inverted)
    if not scan_read_bracketed(text, out) and not scan_read_elements(text, symbology, out):
        return False
    if escaped and (out.key_length or out.code_class == CODE_PRODUCT_BARCODE):
        out.repairs |= REPAIR_ESCAPED_SEPARATOR
    if inverted:
        scan_doubt_case(out)
    if out.code_class == CODE_MALFORMED and out.hint == HINT_NO_SERIAL:
        return symbology == SYMBOLOGY_GS1 or has_gs or (out.repairs & REPAIR_BRACKETS) != 0
    return True


cdef ScanText scan_unescape(
    ScanText body, unsigned char* letters, bint* escaped, bint* inverted
) noexcept nogil:
    cdef Py_ssize_t place = 0, length = 0
    cdef int entry
    while place < body.length and not scan_is(body.at[place], SIGN_ESCAPE):
        place += 1
    if place == body.length:
        return body
    memcpy(letters, body.at, place)
    length = place
    while place < body.length:
        letters[length] = body.at[place]
        if scan_is(body.at[place], SIGN_ESCAPE):
            for entry in range(SCAN_ESCAPE_COUNT):
                if scan_fits_word(body, place, &SCAN_ESCAPES[entry]):
                    letters[length] = 0x1D
                    escaped[0] = True
                    if SCAN_ESCAPES[entry].inverted:
                        inverted[0] = True
                    place += SCAN_ESCAPES[entry].length - 1
                    break
        place += 1
        length += 1
    return scan_text(letters, length)


cdef bint scan_read_elements(ScanText text, int symbology, PlainReading* out) noexcept nogil:
    cdef ScanText bare = scan_strip_gs(text)
    cdef bint intact = memchr(text.at, 0x1D, text.length) != NULL
    cdef bint leading, gtin_holds, plain, check_holds = True, has_serial, whole
    cdef ScanElements elements
    cdef ScanLost lost
    leading = bare.length >= 16 and bare.at[0] == 0x30 and bare.at[1] == 0x31 and scan_is_digits(bare.at, 16)
    gtin_holds = leading and scan_check_digit_holds(bare.at + 2, 14)
    plain = scan_parse(bare, &elements, &check_holds)
    has_serial = plain and elements.values[ELEMENT_SERIAL].length != 0
    lost.count = 0
    if intact or symbology == SYMBOLOGY_GS1:
        if plain and not check_holds:
            scan_say(out, CODE_MALFORMED, HINT_CHECK_DIGIT)
            return True
        lost.serial = lost.whole = False
        if not intact and gtin_holds:
            scan_find_lost_separators(bare, &lost)
        if plain:
            whole = (
                elements.values[ELEMENT_GTIN].length != 0
                and elements.values[ELEMENT_LOT].length != 0
                and elements.values[ELEMENT_EXPIRY].length != 0
                and has_serial
            )
            if (lost.whole and not whole) or (lost.serial and not has_serial):
                scan_say(out, CODE_AMBIGUOUS, HINT_SEPARATOR_LOST)
            else:
                scan_identify(&elements, out)
            return True
        if lost.count == 1:
            scan_identify(&lost.elements, out)
            scan_with_lost_separator(out)
            return True
        if lost.count > 1:
            scan_say(out, CODE_AMBIGUOUS, HINT_SEPARATOR_LOST)
            return True
        if gtin_holds or symbology == SYMBOLOGY_GS1:
            scan_say(out, CODE_MALFORMED, HINT_RESCAN)
            return True
        return False
    if gtin_holds:
        scan_find_lost_separators(bare, &lost)
        plain = plain and check_holds
        if lost.count + plain == 1:
            if plain:
                scan_identify(&elements, out)
            else:
                scan_identify(&lost.elements, out)
                scan_with_lost_separator(out)
            return True
        if lost.count + plain == 0 and scan_is_digits(bare.at, bare.length):
            return False
        scan_say(out, CODE_AMBIGUOUS, HINT_SEPARATOR_LOST)
        return True
    if leading and has_serial:
        scan_say(out, CODE_MALFORMED, HINT_CHECK_DIGIT)
        return True
    if (
        plain
        and check_holds
        and bare.length >= 20
        and bare.at[0] == 0x30
        and bare.at[1] == 0x30
        and scan_is_digits(bare.at, 20)
    ):
        scan_say(out, CODE_AMBIGUOUS, HINT_SEPARATOR_LOST)
        return True
    return False


cdef bint scan_parse(ScanText bare, ScanElements* elements, bint* check_holds) noexcept nogil:
    """The element strings; False when one does not fit or there is none."""
    cdef ScanIdentifier* identifiers[SCAN_ELEMENTS_MAX]
    cdef ScanText values[SCAN_ELEMENTS_MAX]
    cdef ScanIdentifier* identifier
    cdef const unsigned char* end
    cdef ScanText value
    cdef Py_ssize_t place = 0, start
    cdef int count = 0, seen, entry
    memset(elements, 0, sizeof(ScanElements))
    check_holds[0] = True
    while place < bare.length:
        if bare.at[place] == 0x1D:
            place += 1
            continue
        identifier = scan_identifier_at(bare, place)
        if identifier == NULL or count == SCAN_ELEMENTS_MAX:
            return False
        start = place + identifier.number_length
        if identifier.predefined:
            place = start + identifier.length_max
            if place > bare.length:
                return False
        else:
            end = <const unsigned char*>memchr(bare.at + start, 0x1D, bare.length - start)
            place = end - bare.at if end != NULL else bare.length
        value = scan_text(bare.at + start, place - start)
        if not scan_fits(identifier, value):
            return False
        for entry in range(count):
            if identifiers[entry] == identifier:
                if not scan_same(values[entry], value):
                    return False
        identifiers[count] = identifier
        values[count] = value
        count += 1
        if identifier.has_check_digit and not scan_check_digit_holds(value.at, value.length):
            check_holds[0] = False
        if identifier.element >= 0:
            elements.values[identifier.element] = value
    return count > 0


cdef void scan_find_lost_separators(ScanText bare, ScanLost* lost) noexcept nogil:
    cdef ScanElements current
    memset(lost, 0, sizeof(ScanLost))
    memset(&current, 0, sizeof(ScanElements))
    current.values[ELEMENT_GTIN] = scan_text(bare.at + 2, 14)
    scan_descend(bare, 16, &current, 0, False, lost)


cdef void scan_descend(
    ScanText bare, Py_ssize_t place, ScanElements* current, unsigned int used, bint cut, ScanLost* lost
) noexcept nogil:
    cdef ScanIdentifier* identifier
    cdef ScanText value
    cdef Py_ssize_t start, end, last
    lost.steps += 1
    if lost.steps > SCAN_STEPS_MAX:
        lost.count = 2
        lost.serial = lost.whole = True
        return
    if place == bare.length:
        if cut:
            if lost.count == 0:
                lost.elements = current[0]
            lost.count += 1
            if current.values[ELEMENT_SERIAL].length:
                lost.serial = True
            if used & SCAN_PACK_ATTRIBUTES == SCAN_PACK_ATTRIBUTES:
                lost.whole = True
        return
    identifier = scan_identifier_at(bare, place)
    if identifier == NULL or identifier.pack == 0 or used & identifier.pack:
        return
    start = place + identifier.number_length
    if identifier.predefined:
        last = start + identifier.length_max
        value = scan_text(bare.at + start, identifier.length_max)
        if last > bare.length or not scan_fits(identifier, value):
            return
        if identifier.element >= 0:
            current.values[identifier.element] = value
        scan_descend(bare, last, current, used | identifier.pack, cut, lost)
    else:
        last = start + identifier.length_max
        if last > bare.length:
            last = bare.length
        for end in range(start + 1, last + 1):
            if not scan_is(bare.at[end - 1], SIGN_SET_82):
                break
            if identifier.element >= 0:
                current.values[identifier.element] = scan_text(bare.at + start, end - start)
            scan_descend(bare, end, current, used | identifier.pack, cut or end < bare.length, lost)
            if lost.steps > SCAN_STEPS_MAX:
                break
    if identifier.element >= 0:
        current.values[identifier.element].length = 0


cdef inline void scan_with_lost_separator(PlainReading* out) noexcept nogil:
    out.repairs |= REPAIR_LOST_SEPARATOR
    if out.key_length:
        out.hint = HINT_SEPARATOR_LOST


cdef bint scan_read_bracketed(ScanText text, PlainReading* out) noexcept nogil:
    cdef ScanIdentifier* identifiers[SCAN_ELEMENTS_MAX]
    cdef Py_ssize_t starts[SCAN_ELEMENTS_MAX]
    cdef Py_ssize_t ends[SCAN_ELEMENTS_MAX]
    cdef unsigned char padded[SCAN_ELEMENTS_MAX][14]
    cdef ScanText values[SCAN_ELEMENTS_MAX]
    cdef ScanElements elements
    cdef ScanIdentifier* identifier
    cdef ScanText value
    cdef unsigned char opening, closing
    cdef Py_ssize_t place = 0, digits, end
    cdef int count = 0, entry, other
    cdef unsigned int repairs = REPAIR_BRACKETS
    cdef bint fits = True, check_holds = True
    if text.length == 0 or (text.at[0] != 0x28 and text.at[0] != 0x5B):
        return False
    opening = text.at[0]
    closing = 0x29 if opening == 0x28 else 0x5D
    while place < text.length:
        if text.at[place] != opening:
            place += 1
            continue
        digits = place + 1
        while digits < text.length and scan_is(text.at[digits], SIGN_DIGIT):
            digits += 1
        if not 2 <= digits - place - 1 <= 4 or digits == text.length or text.at[digits] != closing:
            place += 1
            continue
        identifier = scan_identifier_at(scan_text(text.at, digits), place + 1)
        if identifier != NULL and identifier.number_length == digits - place - 1:
            if count == 0 and place != 0:
                return False
            if count < SCAN_ELEMENTS_MAX:
                identifiers[count] = identifier
                starts[count] = place
                ends[count] = digits + 1
                count += 1
            else:
                fits = False
        place = digits + 1
    if count == 0:
        return False
    memset(&elements, 0, sizeof(elements))
    for entry in range(count):
        if not fits:
            break
        identifier = identifiers[entry]
        end = starts[entry + 1] if entry + 1 < count else text.length
        value = scan_strip(scan_text(text.at + ends[entry], end - ends[entry]), True)
        if (
            identifier.length_max == 14
            and identifier.has_check_digit
            and (value.length == 8 or value.length == 12 or value.length == 13)
            and scan_is_digits(value.at, value.length)
        ):
            memset(padded[entry], 0x30, 14)
            memcpy(padded[entry] + 14 - value.length, value.at, value.length)
            value = scan_text(padded[entry], 14)
            repairs |= REPAIR_PADDED_GTIN
        fits = scan_fits(identifier, value)
        for other in range(entry):
            if identifiers[other] == identifier:
                if not scan_same(values[other], value):
                    fits = False
        values[entry] = value
        if fits and identifier.has_check_digit and not scan_check_digit_holds(value.at, value.length):
            check_holds = False
        if identifier.element >= 0:
            elements.values[identifier.element] = value
    if not fits:
        if identifiers[0].element != ELEMENT_GTIN and identifiers[0].element != ELEMENT_SSCC:
            return False
        scan_say(out, CODE_MALFORMED, HINT_RESCAN)
        return True
    if not check_holds:
        scan_say(out, CODE_MALFORMED, HINT_CHECK_DIGIT)
        return True
    scan_identify(&elements, out)
    out.repairs |= repairs
    return True


cdef void scan_identify(ScanElements* elements, PlainReading* out) noexcept nogil:
    cdef ScanText gtin = elements.values[ELEMENT_GTIN]
    cdef ScanText serial = elements.values[ELEMENT_SERIAL]
    cdef ScanText sscc = elements.values[ELEMENT_SSCC]
    cdef ScanText lot = elements.values[ELEMENT_LOT]
    if gtin.length and serial.length:
        scan_say(out, CODE_GS1, HINT_NONE)
        out.key[0] = 0x47
        scan_pack(out.key + 1, gtin.at, 14)
        memcpy(out.key + 8, serial.at, serial.length)
        out.key_length = 8 + <int>serial.length
    elif sscc.length:
        scan_say(out, CODE_LOGISTIC_UNIT, HINT_NONE)
        out.key[0] = 0x53
        scan_pack(out.key + 1, sscc.at, 18)
        out.key_length = 10
        gtin.length = 0
    elif gtin.length:
        scan_say(out, CODE_PRODUCT_BARCODE, HINT_NO_SERIAL)
        memcpy(out.text, b"(01)", 4)
        memcpy(out.text + 4, gtin.at, 14)
        out.text_length = 18
    else:
        scan_say(out, CODE_MALFORMED, HINT_NO_SERIAL)
        return
    # What is not said points nowhere, which memcpy may not be given even for no bytes.
    if gtin.length:
        memcpy(out.identifier, gtin.at, gtin.length)
    out.identifier_length = <int>gtin.length
    if lot.length:
        memcpy(out.lot, lot.at, lot.length)
    out.lot_length = <int>lot.length
    if elements.values[ELEMENT_EXPIRY].length:
        out.expiry_days = scan_read_date(elements.values[ELEMENT_EXPIRY].at)
    if elements.values[ELEMENT_PRODUCTION].length:
        out.production_days = scan_read_date(elements.values[ELEMENT_PRODUCTION].at)


# URLs ---------------------------------------------------------------------------------------------------


cdef bint scan_find_url(ScanText body, Py_ssize_t* start, Py_ssize_t* end) noexcept nogil:
    cdef Py_ssize_t place
    cdef Py_ssize_t begin = -1
    for place in range(body.length):
        if scan_lower(body.at[place]) == 0x68 and scan_scheme(body, place):
            begin = place
            break
    if begin < 0:
        if body.length < 4 or body.at[3] != 0x2E:
            return False
        for place in range(3):
            if scan_lower(body.at[place]) != 0x77:
                return False
        begin = 0
    start[0] = begin
    end[0] = begin
    while end[0] < body.length and scan_is(body.at[end[0]], SIGN_URL):
        end[0] += 1
    return True


cdef void scan_read_url(ScanText body, Py_ssize_t start, Py_ssize_t end, PlainReading* out) noexcept nogil:
    cdef ScanText url = scan_text(body.at + start, end - start)
    cdef Py_ssize_t host = scan_scheme(url, 0)
    cdef Py_ssize_t place
    cdef int upper = 0, first_upper = 0
    scan_read_url_parts(
        url, scan_text(body.at, start), scan_text(body.at + end, body.length - end), host, out
    )
    out.repairs |= REPAIR_URL
    for place in range(host - 3):
        if 0x41 <= url.at[place] <= 0x5A:
            upper += 1
            if place == 0:
                first_upper = 1
    # All small, all capital and one capital in front are ways to write; anything else is Caps Lock's.
    if host and upper and upper != host - 3 and not (upper == 1 and first_upper):
        scan_doubt_case(out)


cdef bint scan_is_url_token(ScanText piece) noexcept nogil:
    if not scan_is_opaque(piece, SCAN_TOKEN_MIN):
        return False
    if (piece.length == 8 or 12 <= piece.length <= 14) and scan_is_digits(piece.at, piece.length):
        return not scan_check_digit_holds(piece.at, piece.length)
    return True


cdef Py_ssize_t scan_until(ScanText text, Py_ssize_t place, const char* signs, int count) noexcept nogil:
    """The next place from here on that holds one of the signs, or the text's end."""
    while place < text.length and memchr(signs, text.at[place], count) == NULL:
        place += 1
    return place


cdef bint scan_next_pair(ScanText tail, Py_ssize_t* place, ScanText* name, ScanText* value) noexcept nogil:
    """The next name=value of a query or fragment."""
    cdef Py_ssize_t end, equals
    while place[0] <= tail.length:
        equals = scan_until(tail, place[0], b"=?&#", 4)
        end = scan_until(tail, equals, b"?&#", 3)
        if equals < end:
            name[0] = scan_text(tail.at + place[0], equals - place[0])
            value[0] = scan_text(tail.at + equals + 1, end - equals - 1)
            place[0] = end + 1
            return True
        place[0] = end + 1
    return False


cdef void scan_read_url_parts(
    ScanText url, ScanText before, ScanText behind, Py_ssize_t host, PlainReading* out
) noexcept nogil:
    cdef unsigned char decoded[SCAN_BYTES_MAX]
    cdef unsigned char alone[20]
    cdef unsigned char packed[10]
    cdef PlainReading reading, candidate, doubt
    cdef ScanText rest, path, tail, name, value
    cdef Py_ssize_t place, end, length
    cdef int candidates = 0, alone_count
    cdef bint has_doubt = False, linked
    place = scan_until(url, host, b"/?#", 3)
    rest = scan_text(url.at + place, url.length - place)
    path = scan_text(rest.at, scan_until(rest, 0, b"?#", 2))
    tail = scan_text(rest.at + path.length, rest.length - path.length)

    place = 0
    while scan_next_pair(tail, &place, &name, &value):
        if not (
            (name.length == 1 and scan_lower(name.at[0]) == 0x63)
            or (
                name.length == 4
                and scan_lower(name.at[0]) == 0x63
                and scan_lower(name.at[1]) == 0x6F
                and scan_lower(name.at[2]) == 0x64
                and scan_lower(name.at[3]) == 0x65
            )
        ):
            continue
        length = scan_percent_decode(value, decoded)
        scan_read_code_value(scan_strip(scan_text(decoded, length), False), &reading)
        if scan_is_code(&reading):
            candidates = scan_add_candidate(&candidate, candidates, &reading)
        elif (
            reading.code_class != CODE_EMPTY
            and reading.code_class != CODE_ENTERPRISE
            and reading.code_class != CODE_MALFORMED
            and not has_doubt
        ):
            doubt = reading
            has_doubt = True
    linked = scan_read_digital_link(path, tail, &reading)
    alone_count = scan_gather_twenty(before, alone, 0)
    alone_count = scan_gather_twenty(behind, alone, alone_count)
    if linked and scan_is_code(&reading):
        candidates = scan_add_candidate(&candidate, candidates, &reading)
    elif linked and candidates == 0:
        out[0] = reading
        return
    if candidates == 0:
        length = scan_percent_decode(url, decoded)
        alone_count = scan_gather_twenty(scan_text(decoded, length), alone, alone_count)
        if alone_count == 1:
            scan_read_digits(alone, 20, SYMBOLOGY_UNSAID, out)
            return
    elif alone_count == 1:
        # The same digits beside the URL confirm it; others make a second candidate.
        scan_pack(packed, alone, 20)
        if candidate.code_class == CODE_TWENTY_DIGIT and memcmp(packed, candidate.key + 1, 10) == 0:
            alone_count = 0
    if candidates > 1 or alone_count:
        scan_say(out, CODE_AMBIGUOUS, HINT_TWO_CANDIDATES)
        return
    if candidates:
        out[0] = candidate
        return
    if has_doubt:
        out[0] = doubt
        return
    if url.length <= SCAN_ENTERPRISE_MAX:
        place = 0
        while place <= rest.length:
            end = scan_until(rest, place, b"/?&#=", 5)
            if scan_is_url_token(scan_text(rest.at + place, end - place)):
                scan_enterprise(url, out)
                return
            place = end + 1
    scan_say(out, CODE_MALFORMED, HINT_URL_WITHOUT_CODE)


cdef int scan_add_candidate(PlainReading* candidate, int candidates, PlainReading* reading) noexcept nogil:
    """Keep the first candidate and count the different ones: 1, or 2 for several."""
    if candidates == 0:
        candidate[0] = reading[0]
        return 1
    if (
        candidate.key_length != reading.key_length
        or memcmp(candidate.key, reading.key, reading.key_length) != 0
    ):
        return 2
    return candidates


cdef void scan_read_code_value(ScanText text, PlainReading* out) noexcept nogil:
    scan_say(out, CODE_EMPTY, HINT_NONE)
    if text.length == 0 or not scan_is_all_ascii(text):
        return
    if scan_is_placeholder(text):
        scan_say(out, CODE_PLACEHOLDER, HINT_PLACEHOLDER)
    else:
        scan_read_content(text, SYMBOLOGY_UNSAID, out)


cdef bint scan_read_digital_link(ScanText path, ScanText tail, PlainReading* out) noexcept nogil:
    cdef unsigned char decoded[96]
    cdef unsigned char number[18]
    cdef unsigned char kept[6][32]
    cdef ScanText values[6]
    cdef ScanElements elements
    cdef ScanText name, value
    cdef Py_ssize_t place = 0, end, length = 0
    cdef int said = 0
    cdef bint is_sscc = False, found = False
    while not found:
        end = scan_until(path, place, b"/", 1)
        if end == path.length:
            return False
        name = scan_text(path.at + place, end - place)
        place = end + 1
        end = scan_until(path, place, b"/", 1)
        if scan_equals(name, b"01", 2) or scan_equals(name, b"00", 2):
            is_sscc = name.at[1] == 0x30
            if end - place <= 54:
                length = scan_percent_decode(scan_text(path.at + place, end - place), decoded)
                if is_sscc:
                    found = length == 18
                else:
                    found = length == 8 or 12 <= length <= 14
                found = found and scan_is_digits(decoded, length)
    if not scan_check_digit_holds(decoded, length):
        if length < 14:
            return False
        scan_say(out, CODE_MALFORMED, HINT_CHECK_DIGIT)
        return True
    memset(number, 0x30, 18)
    memset(&elements, 0, sizeof(elements))
    if is_sscc:
        memcpy(number, decoded, 18)
        elements.values[ELEMENT_SSCC] = scan_text(number, 18)
    else:
        memcpy(number + 14 - length, decoded, length)
        elements.values[ELEMENT_GTIN] = scan_text(number, 14)

    memset(values, 0, sizeof(values))
    place = end + 1
    while place <= path.length:
        end = scan_until(path, place, b"/", 1)
        name = scan_text(path.at + place, end - place)
        place = end + 1
        if end == path.length or not (
            scan_equals(name, b"22", 2)
            or scan_equals(name, b"10", 2)
            or scan_equals(name, b"21", 2)
            or scan_equals(name, b"235", 3)
        ):
            break
        end = scan_until(path, place, b"/", 1)
        value = scan_text(path.at + place, end - place)
        place = end + 1
        said = scan_add_attribute(name, value, values, kept)
        if said:
            break
    place = 0
    while said == 0 and scan_next_pair(tail, &place, &name, &value):
        if (
            scan_equals(name, b"10", 2)
            or scan_equals(name, b"11", 2)
            or scan_equals(name, b"17", 2)
            or scan_equals(name, b"21", 2)
        ):
            said = scan_add_attribute(name, value, values, kept)
    if said == 1:
        scan_say(out, CODE_MALFORMED, HINT_RESCAN)
        return True
    if said == 2:
        scan_say(out, CODE_AMBIGUOUS, HINT_TWO_CANDIDATES)
        return True
    elements.values[ELEMENT_LOT] = values[0]
    elements.values[ELEMENT_PRODUCTION] = values[1]
    elements.values[ELEMENT_EXPIRY] = values[2]
    elements.values[ELEMENT_SERIAL] = values[3]
    scan_identify(&elements, out)
    if length < 14:
        out.repairs |= REPAIR_PADDED_GTIN
    return True


cdef int scan_add_attribute(
    ScanText name, ScanText value, ScanText* values, unsigned char (*kept)[32]
) noexcept nogil:
    """Keep an attribute of a Digital Link: 0 kept, 1 it does not fit, 2 it contradicts an earlier one."""
    cdef unsigned char decoded[96]
    cdef int entry
    cdef Py_ssize_t length
    cdef ScanIdentifier* identifier = scan_identifier_at(name, 0)
    if name.length == 3:
        entry = 5
    elif name.at[0] == 0x31:
        entry = 0 if name.at[1] == 0x30 else (1 if name.at[1] == 0x31 else 2)
    else:
        entry = 3 if name.at[1] == 0x31 else 4
    # No attribute here has more than 28 characters, each at most three bytes when encoded.
    if value.length > 96:
        return 1
    length = scan_percent_decode(value, decoded)
    if not scan_fits(identifier, scan_text(decoded, length)):
        return 1
    if values[entry].length == 0:
        memcpy(kept[entry], decoded, length)
        values[entry] = scan_text(kept[entry], length)
        return 0
    return 0 if scan_same(values[entry], scan_text(decoded, length)) else 2


# The door -----------------------------------------------------------------------------------------------


cdef int read_plain(const unsigned char* raw, Py_ssize_t length, PlainReading* out) noexcept nogil:
    """Read a scan that is plainly one code (20 digits, GS1, enterprise) with nothing to tell the clerk.

    Returns 1 and fills `out`, or 0 when the full path must judge the scan: text that is not ASCII, several
    scans, a hint, or no code of these kinds. What it clears, `read_scan` reads the same. A foreign issuer is
    no reason to refuse; `out.foreign_issuer` tells it.
    """
    cdef ScanText text = scan_text(raw, length)
    if length > SCAN_LENGTH_MAX:
        return 0
    text = scan_strip(text, False)
    if text.length == 20 and text.at[0] == 0x38 and scan_is_digits(text.at, 20):
        scan_twenty_digits(text.at, out)
        out.scan = text
    else:
        if not scan_is_all_ascii(text) or scan_may_hold_several(text):
            return 0
        scan_read_one(text, out)
    if text.length != length:
        out.repairs |= REPAIR_INVISIBLE
    return out.hint == HINT_NONE and (
        out.code_class == CODE_TWENTY_DIGIT or out.code_class == CODE_GS1 or out.code_class == CODE_ENTERPRISE
    )


cdef unsigned int scan_read_str(str raw, vector[PlainReading]* readings, list held) except? 0xFFFFFFFF:
    """Read a str; `raw` and `held` keep alive what the readings point into. Returns the fold's repairs."""
    cdef Py_ssize_t length = 0
    cdef unsigned int repairs = 0
    cdef const char* at
    cdef ScanText text
    cdef PlainReading reading
    cdef size_t entry
    readings.clear()
    if len(raw) > SCAN_LENGTH_MAX:
        scan_say(&reading, CODE_MALFORMED, HINT_WRONG_LENGTH)
        reading.scan = scan_text(NULL, 0)
        readings.push_back(reading)
        return 0
    folded = raw
    if not scan_is_ascii(raw):
        folded, folded_repairs = _code.fold(raw)
        repairs = folded_repairs
        held.append(folded)
        if len(folded) > SCAN_LENGTH_MAX:
            scan_say(&reading, CODE_MALFORMED, HINT_WRONG_LENGTH)
            reading.scan = scan_text(NULL, 0)
            readings.push_back(reading)
            return 0
    at = scan_utf8(folded, &length)
    text = scan_strip(scan_text(<const unsigned char*>at, length), False)
    if text.length != length:
        repairs |= REPAIR_INVISIBLE
    scan_read_fields(text, readings)
    for entry in range(readings.size()):
        if repairs & REPAIR_INPUT_METHOD:
            scan_doubt_punctuation(&readings[0][entry], text)
        readings[0][entry].repairs |= repairs
    return repairs


cdef object scan_day(int days):
    return None if days < 0 else _date.fromordinal(719163 + days)


cdef object scan_reading(str raw, PlainReading* reading):
    cdef bytes key = reading.key[:reading.key_length]
    cdef str text
    if key:
        text = _code.key_text(key)
    elif reading.text_length:
        text = reading.text[:reading.text_length].decode("ascii")
    else:
        text = reading.scan.at[:reading.scan.length].decode("utf-8")
    return _code.Reading(
        raw,
        scan_classes[reading.code_class],
        key,
        text,
        reading.identifier[:reading.identifier_length].decode("ascii"),
        reading.lot[:reading.lot_length].decode("ascii"),
        scan_day(reading.expiry_days),
        scan_day(reading.production_days),
        _code.Repair(reading.repairs),
        scan_hints[reading.hint],
        reading.foreign_issuer != 0,
    )


def read_scan(str raw not None):
    """Read one scan; the twin of `tracecode.code.read_scan`, and equal to it on every text."""
    cdef vector[PlainReading] readings
    cdef list held = []
    cdef size_t entry
    scan_read_str(raw, &readings, held)
    return tuple([scan_reading(raw, &readings[entry]) for entry in range(readings.size())])


def read_scans(list raws not None):
    """Read scans, one tuple of readings for each."""
    return [read_scan(raw) for raw in raws]


def keys_of(list raws not None):
    """The canonical key of each scan, b"" where it is not exactly one code; makes no Reading, for speed."""
    cdef vector[PlainReading] readings
    cdef PlainReading reading
    cdef list held = []
    cdef list keys = []
    cdef const char* at
    cdef Py_ssize_t length = 0
    cdef str raw
    for raw in raws:
        if raw is None:
            raise TypeError("a scan is a str, not None; leave it out or pass an empty string")
        if scan_is_ascii(raw):
            at = scan_utf8(raw, &length)
            if read_plain(<const unsigned char*>at, length, &reading):
                keys.append(reading.key[:reading.key_length])
                continue
        scan_read_str(raw, &readings, held)
        held.clear()
        keys.append(readings[0].key[:readings[0].key_length] if readings.size() == 1 else b"")
    return keys


def read_plain_key(bytes raw not None):
    """The key of bytes that `read_plain` clears without the GIL, or None: what clearing sees of a scan."""
    cdef PlainReading reading
    if read_plain(raw, len(raw), &reading):
        return reading.key[:reading.key_length]
    return None
