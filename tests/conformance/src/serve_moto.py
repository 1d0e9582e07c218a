"""Serves moto on a free port of this machine until standard input ends.

Prints one line when it serves: the port, and those of the actions given as arguments that moto has.
"""

import json
import sys

from moto.core.utils import camelcase_to_underscores, method_names_from_class
from moto.ec2.responses import EC2Response
from moto.moto_api._internal import mock_random
from moto.server import ThreadedMotoServer

methods = method_names_from_class(EC2Response)
actions = [name for name in sys.argv[1:] if camelcase_to_underscores(name) in methods]
# The same identifiers and addresses in each run.
mock_random.seed(0)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
_, port = server.get_host_and_port()
print(json.dumps({"port": port, "actions": actions}), flush=True)
sys.stdin.read()
server.stop()
