"""As an app in Python verifies who asks: with the keys from where they are published. JSON in, a JSON line per token out."""
import json
import sys

import jwt

given = json.load(sys.stdin)
keys = jwt.PyJWKClient(given["jwks"])
for token in given["tokens"]:
    try:
        key = keys.get_signing_key_from_jwt(token).key
        claims = jwt.decode(
            token,
            key,
            algorithms=["ES256"],
            audience=given["audience"],
            issuer=given["issuer"],
            options={"require": ["exp", "iat", "aud", "iss", "sub"]},
        )
        print(json.dumps({"claims": claims}))
    except jwt.exceptions.PyJWTError as error:
        print(json.dumps({"refused": type(error).__name__}))
