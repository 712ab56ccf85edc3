# Hashes of a Merkle log over the journal, many at a time and without Python; tracecode/proof/tree.py says
# what they are.

cdef extern from "sha256.h" namespace "tracecode" nogil:
    void sha256_behind(uint8_t first, const void *data, size_t size, uint8_t *hash, bint by_word)
    void fold_hashes(uint8_t *hashes, size_t count)

cdef enum:
    HASH_BYTES = 32
    TILE_HASHES = 256


def hash_leaf(bytes entry not None, bint by_word=False):
    """The leaf hash of an entry; `by_word` without the instructions of the processor."""
    cdef uint8_t hash[HASH_BYTES]
    sha256_behind(0, <const char *> entry, len(entry), hash, by_word)
    return PyBytes_FromStringAndSize(<const char *> hash, HASH_BYTES)


def fold_tiles(bytes hashes not None):
    """The roots of full tiles, one behind the other, as one tile has them above."""
    cdef size_t size = len(hashes)
    cdef size_t tiles = size // (HASH_BYTES * TILE_HASHES)
    if size != tiles * HASH_BYTES * TILE_HASHES:
        raise ValueError(f"full tiles have {HASH_BYTES * TILE_HASHES} bytes each, these {size} in all")
    cdef const char *given = hashes
    cdef vector[uint8_t] tile
    cdef string roots
    cdef size_t i
    with nogil:
        tile.resize(HASH_BYTES * TILE_HASHES)
        for i in range(tiles):
            memcpy(tile.data(), given + i * HASH_BYTES * TILE_HASHES, HASH_BYTES * TILE_HASHES)
            fold_hashes(tile.data(), TILE_HASHES)
            roots.append(<const char *> tile.data(), HASH_BYTES)
    return bytes_of(view_of_string(roots))
