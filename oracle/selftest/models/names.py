"""The models that are tried: timm's test models, then small models of many families of timm, torchvision and transformers."""

from __future__ import annotations

from oracle.selftest.models import language, published

TEST = """
test_resnet test_byobnet test_convnext test_convnext2 test_convnext3 test_efficientnet test_efficientnet_gn test_efficientnet_ln
test_efficientnet_evos test_mambaout test_nfnet test_maxvit test_coatnet test_vit test_vit2 test_vit3 test_vit4 test_vit_relpos
"""
# Small models, or small at 48 pixels. These and the test models are tried most closely.
LIGHT = """
resnet10t resnet14t mobilenetv1_100 mobilenetv2_035 mobilenetv3_small_050 mobilenetv3_small_100 mobilenetv4_conv_small_035
mnasnet_small semnasnet_050 tinynet_e tinynet_d lcnet_035 lcnet_050 ghostnet_050 repghostnet_050 mobileone_s0 starnet_s050
convnext_atto regnetx_002 dla46_c efficientvit_b0 pvt_v2_b0
"""
SMALL = """
mobilenetv2_100 mobilenetv3_large_100 tf_mobilenetv3_small_minimal_100 mobilenetv4_conv_small mobilenet_edgetpu_v2_xs
efficientnet_b0 tf_efficientnet_b0 tf_efficientnetv2_b0 efficientnet_b0_gn mnasnet_050 fbnetc_100 spnasnet_100 ghostnetv2_100
convnext_atto_ols convnext_atto_rms convnext_femto convnextv2_atto inception_next_atto mambaout_femto
regnety_002 regnetx_004 regnetv_040 hgnetv2_b0 repvgg_b0 rexnet_100 hardcorenas_a dla46x_c selecsls42b ese_vovnet19b_dw
resnet18 resnet26t resnetv2_18 resnetblur18 seresnet18 skresnet18 ecaresnet26t resnext26ts gcresnext26ts nf_resnet26 nf_regnet_b0
mobilevit_xxs mobilevitv2_050 edgenext_xx_small efficientformerv2_s0 swiftformer_xs fastvit_t8 poolformer_s12
deit_tiny_patch16_224 vit_tiny_patch16_224 cait_xxs24_224 mixer_s32_224 resmlp_12_224 gmlp_s16_224 cspnext_tiny
"""
# Models that are large even at 48 pixels, or that need larger images.
LARGE = """
bat_resnext26ts lambda_resnet26t halonet26t botnet26t_256 res2net50_26w_4s resnest26d hrnet_w18_small
pit_ti_224 levit_128s crossvit_tiny_240 convit_tiny xcit_nano_12_p16_224 coat_lite_tiny gcvit_xxtiny visformer_tiny
tiny_vit_5m_224 maxvit_pico_rw_256 coatnet_pico_rw_224 eva02_tiny_patch14_224 focalnet_tiny_srf swin_tiny_patch4_window7_224
torchvision/alexnet torchvision/densenet121 torchvision/vgg11_bn
"""
TORCHVISION = """
squeezenet1_1 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 resnet18 regnet_y_400mf googlenet efficientnet_b0
"""
CLOSELY = (*TEST.split(), *LIGHT.split())
LANGUAGE = tuple(f"language/{name}" for name in language.MODELS)
PUBLISHED = tuple(f"transformers/{name}" for name in published.MODELS)
FIRST = (*CLOSELY, *LANGUAGE, *PUBLISHED, *(f"torchvision/{name}" for name in TORCHVISION.split()), *SMALL.split())
NAMES = (*FIRST, *LARGE.split())
QUICK = ("test_resnet", "test_mambaout", "language/GPT-2", "language/Llama", "transformers/mixtral")
