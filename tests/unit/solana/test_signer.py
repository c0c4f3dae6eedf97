"""Keys sign, and never show themselves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from solders.keypair import Keypair

from bestex.errors import ConfigError
from bestex.solana.signer import KeypairSigner

KEYPAIR = Keypair.from_seed(bytes(range(32)))


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=1232))
def test_signatures_are_the_ones_that_solana_makes(seed: bytes, message: bytes) -> None:
    keypair = Keypair.from_seed(seed)
    signer = KeypairSigner.from_base58(str(keypair))
    assert signer.sign(message) == bytes(keypair.sign_message(message))
    assert signer.pubkey == keypair.pubkey()


@pytest.mark.parametrize("secret", ["abc", "0OIl", "1" * 88, str(KEYPAIR)[:-3]])
def test_a_wrong_secret_is_refused_without_repeating_it(secret: str) -> None:
    with pytest.raises(ConfigError) as refused:
        KeypairSigner.from_base58(secret)
    assert secret not in str(refused.value)


def test_the_secret_is_not_in_the_representation() -> None:
    assert str(KEYPAIR) not in repr(KeypairSigner(KEYPAIR))
