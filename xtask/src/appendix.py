# Appended to the code of docs/protocol.md, appendix A: holds it to the vectors. argv[1] is the folder of the vectors.
import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
keys = json.loads((folder / 'keys.json').read_text())
vectors = json.loads((folder / 'vectors.json').read_text())
public = {key['key_id']: read_public_key(key['public_key']) for key in keys.values()}
private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(keys['device']['seed_hex']))
requests = answers = 0

for vector in vectors:
    wire = (folder / vector['file']).read_bytes()
    if 'method' in vector:
        fields = decode(wire[:wire.rfind(b'\n')].decode())
        made, signature = sign_request(private, vector['path'], fields, vector['method'])
        assert made == wire and signature == vector['signature'], vector['name']
        requests += 1
    elif 'status' in vector:
        opened = open_answer(public, vector['status'], vector['request_sig_dev'], wire)
        assert opened, vector['name']
        for at in range(0, len(wire), 7):
            flipped = wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1:]
            assert open_answer(public, vector['status'], vector['request_sig_dev'], flipped) is None, (vector['name'], at)
        assert open_answer(public, vector['status'] + 1, vector['request_sig_dev'], wire) is None, vector['name']
        bound_elsewhere = open_answer(public, vector['status'], keys['device']['public_key'] * 2, wire)
        unbound = vector['request_sig_dev'] == '-' and opened[0].get('ERR1') in MAY_BE_UNBOUND
        assert bool(bound_elsewhere) == unbound, vector['name']
        answers += 1

signatures = json.loads((folder / 'signatures.json').read_text())
for case in signatures:
    try:
        valid = verifies(read_public_key(case['public_key']), case['signature'], case['message'].encode())
    except ValueError:
        valid = False
    assert valid == case['is_valid'], case

assert encode({'type': 'logs', 'lines': []}) == 'type: logs\nlines: []'
assert requests == 8 and answers > 30 and len(signatures) == 31
print('%d requests, %d answers and %d signatures as in the vectors' % (requests, answers, len(signatures)))
