#!/bin/sh
# check_hot_loops.sh OBJDUMP OBJECT
# gcc is known to spill the accumulators of a tile to the stack, at less than half the speed. Looks
# at the innermost loops with a dozen or more products in matrix products, of floats and of quantised
# weights, and in attention, which is where the time goes: none may store a vector register to the
# stack (a constant read from there does no harm), and the tile products must be among them. NEON's
# quantised tiles are known to store a few registers, at most one for 16 products, and may.
set -eu
holds="tile packed"
case "$2" in
  *vnni*) holds="packed pair" ;;
  *dotprod*) holds=packed ;;
  *avx512_bf16*) holds=tile ;;
esac
"$1" -d --no-show-raw-insn "$2" | awk -v holds="$holds" '
  /^[0-9a-f]+ </ { name = $2; delete line_of; count = 0; next }
  !/^ *[0-9a-f]+:/ { next }
  {
    address = $1; sub(":", "", address)
    ++count
    line_of[address] = count
    text[count] = $0
    is_jump[count] = 0
    target = ""
    if ($2 ~ /^(j|b)/ && $3 ~ /^[0-9a-f]+$/) target = $3
    else if ($2 ~ /^(cb|tb)/) target = $(NF - 1)
    if (target == "" || !(target in line_of)) next
    is_jump[count] = 1
    first = line_of[target]
    for (i = first; i < count; ++i) if (is_jump[i]) next
    products = 0; spills = 0; example = ""
    for (i = first; i <= count; ++i) {
      if (text[i] ~ /vfmadd|fmla|vpmaddubsw|vpdpbusd|vdpbf16ps|smull|sdot/) ++products
      if (text[i] ~ /%[xyz]mm[0-9]+,[-0-9a-fx]*\(%r[sb]p[,)]|st[pr][ \t]+q.*\[sp/) {
        ++spills; example = text[i]
      }
    }
    if (products < 12 || name !~ /Tile|VectorProduct|PackedRow|PackedPair|Attention/) next
    ++loops
    if (name ~ /[0-9]Tile.*multiply/ && name !~ /Packed/) tile = 1
    if (name ~ /PackedTile.*multiplyILb[01]/) packed = 1
    if (name ~ /PackedPair.*multiply/) pair = 1
    allowed = name ~ /PackedTileINS_(4Neon|11NeonDotprod)E/ ? products / 16 : 0
    if (spills > allowed) {
      printf "%s %d vector stores to the stack in a loop of %d products, such as\n%s\n",
             name, spills, products, example
      failed = 1
    }
  }
  END {
    printf "%d hot loops\n", loops
    if (!tile && holds ~ /tile/) { print "the tile product was not found"; failed = 1 }
    if (!pair && holds ~ /pair/) { print "the quantised product of two panels was not found"; failed = 1 }
    if (!packed && holds ~ /packed/) { print "the quantised tile product was not found"; failed = 1 }
    exit failed
  }'
