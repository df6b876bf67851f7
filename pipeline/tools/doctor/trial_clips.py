"""Tiny videos to try decoders with: two frames of 64 x 64 pixels, the left half black and the right half white.

Matroska, compressed by zlib, in base 85; made with libx264, libx265, libvpx, SVT-AV1 and FFmpeg's own encoders.
"""

CLIPS = {
    "h264": (
        "c-pm8U1%It6uz6Tr4&RgXp4$o8<0|)-I>|Vx-JfEHoKUBn}qHrR$s=uckb>EJAav(ZFUt(CW+0OTB;TMP=mB?Uy31UN-cB|BT|g^!6#`Vib_"
        "Q(mHG!-sBJuVw;J@_%gmkcoO{l9&v)+3+?V;f*-Rbu1F1jY{?!kre)G4arWywE9Luec)GWAO^t*QCCQAXtNARn=vu}9kv#mq9w`cAdJYCE!_"
        "$NEoz4^roSXZ;Hm%-YW|EQE(m<qhmF(1gaU~ww=@sAxI^bGpH2CwSE?o01Z-<3*cCl5bG_7`JPNQ6s}p6>g%?VfsN_pSpY-R=(I&h3@YKYcF"
        "#VEUy-GT&k1ijs4Sw=4E9`2qJr<Hpd)jj`b+ecneq&(2R*O|{{pgGa`c>`3OxXm~I;9PS(IpY{XYm#1gC3eTc%=HBs>=lx`U$q$ZR^U>cO=t"
        "79TwGdFz*7a}E_7Xf7*3ys6AhZbu`Ly!Hz_EP+w7Gos^2MFYH?Lnuyr-+Kdx9=cmR62unzNaq{^4|HZ+iAWs@x^Ie28w;T3R`oX*SZMd;9W("
        "!$axW*90NazCuD==nV8w|9jQcl^=Z6Onv4fGzkTs*nG$O`uvxfEAM~5HgN9Po>jcoeeI{36pP{>Of83DG1d!kAOx;3*WVMxARg9KMq#1fvg<"
        "l4dRP*KNRK2)Ji6?8b|M^}n3xFd*HmWd#0*(ZDa?68WzWzd#<D%lGTj8Gq(G=FVuuyw2v%7^w`fHc6Hq)RCeiCIlZ9F&A=E@Mf(<5@Sq;0@0"
        "-(pR?baa`X2nruF~k+agbl66RE0B&kfAulEHPP(VOn-9gD8+HV$Wf^uDO8XwYW+>0Ce1t1t@{2&s!#wC2@}^;v#W9#da&2%_BMl<F;ZIi!Sr"
        "z9tnG82QoO3Zdnyl21D8Kxw=N#hC{%n)82z>@CoudG}B{_P9O;U1-<H!x<W0(CLY)nTI4xIGl2pE9l~RZ4l$Su%_=B%9k8a#5@4bdo2w`&1&"
        "#2XRLx;+T@y?zmAwKW%VwrhvTRuGIBiI+usU$dQm=3uDu!l)iCxM}MysA26>xiZ-cpCTWk`3Z@{e4;?ogRJMQjwHuUr-wvJ?pkc$|xog-{Hj"
        "&57GjQj=qk18_ZN%TcV^a7ge%z!?G;8He-dr^(+@)Xf?*D7=2__r*UiKI$EKJ+$q+Gh2?{|HbH=sJG>vl0Uf_`LKD^N4xkZx3%y1!+Pq2Tk*"
        "ro{D<^v>&O`&otuN7-!D^v)t~)Me*rgNtcU"
    ),
    "hevc": (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})OzDEYvrBgQ?(Pm=-6HC_GA(#b<3b2eEM#3akoVemcMp&!6mm"
        "E{cuf=I9tc+^csEe8i7D_6#2ki523i4-tBz`2-`LFW<lx)T>yucPW@e;k2t)=(;f|>M;w2Lfti1lvy#B5F`riiYTi!l1a_Q`F2!WUc@{z;ob"
        "x;={y57iGe6+)MXP)1zFR9UU8X1(f&S@^qOX+B2Xqylg?;GIi?xF7)?62?P8s^;G$f*3dxrHeyis3=mhDL{7jSeB38d*Z$H8Q}0fQf-2dC?n"
        "2#snaH0$4=u1H+%cKYlPU@G~ngFfvFuF!C_|{|{2Y3{t@iLUL1Qa4G^N)twj_(PS1VG_p<$%Tzh_tf2uU03>)?lz?j4T^J7*ZBcRnMaqrh;s"
        "wbE8q!b9a$Vf+>gVk5;u_@AjutG%o01Q7CnG$Yeqy2P;trS4Ajc3-e?OP@$p!{iV5DbYVE_RP^3K~zH$QJ=SUjtd0c16UkOt#=*@o|o(f>dB"
        "eJ}fRM(1|J;z^AR8X%u?F)?1?tP?n9{R^BlChqRv+{m!K3z!T)HZe(lXk-Qek`l=0"
    ),
    "vp9": (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})jK2hZXP4~q-Q69$x<%A;Wm@o>#)S}`Sjf6;An&#B?j9gdDCB"
        "T@@R}w@M+jFYcy~64`{WJ89EL~+S^<!&j%r=s*v#+b;M>salUSB!W~65bL<UCTj;Q?NB@>jsThtq9x0Q-=Ui+?N+?VUp+2IfZF$v_Oi|e2c_"
        "PE~2SbVfYU_$5KzUWila~c_xw$5oT%}eQMWN2#*iw_I1Y;I&!e%#!`loZAApld^;!>&e$kWGy&q3;?QVBTh8U;u^8jpE`3$p;$JPt0;%-0te"
        "<?C;_l<kF7jw&G362fC9HR;Hg==(@PWB{aw}#M9r;rG2u2ffX3(8CV!V0E4{qw$g*o8yOZaZ)9L-X!2}!VqpHj{EfjvMMlDlfx#ewfk9*W|N"
        "pD*i~s+>askjmizhcSXfU)fI82(u5Wv8|tiZq!QUHpriM#tZH!^JR0;Y_QO^owCG%^DK|8%Vl"
    ),
    "av1": (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})Ou~Y`vrBgQ?(Pm=-6HC_GA(#b<3b2eEM#3akoVemcMp&!6mm"
        "E{cuf;y2!tyWygM7j{rd)D4nrgZtpLbXN42hRZ02`z@NMYzNi0h<Gtx5zA_JpvM^t|Ck_k#`PO7`><*uB2wPj{YZ2AnB&JKqVh)EzHJy{2Ja"
        "P;*?#^R$Lx`q$GKfc|#drl*R($+c6rFkhGjSOwAVeyV(hRuzP%8#2{n3AFx9&~MJblBDC5VEO}CG=e*1I*h@3=GMOCNwheFmQ2!xa<En#4~V"
        "!0_#R`@q*+74e2Llxh`&Z^>g-jaSd{5M{{oRrsM<N$p}}ZpIGR+xWgqh$T7sz-_NCevVnmW80i^U7(f7nyz{ow<Ifuz7O!e#U}%6@+ZnIGVI"
        "(2Iu$qZgM4^#^X-ir`Y306kVjp&%)8*1wJgt#IgTY9^fQf}uWs<f8*x?Ml2SCv{ad-dbMuzQOz$EjriE-nHMrHuzGP9-"
    ),
    "mpeg4": (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})Oo@WNvrBgQ?(Pm=-6HC_GA(#b<3b2eEM#3akoVemcMp&!6mm"
        "E{cuf;y9fT_ryc;Ol#N_=3Vh%$j1FZnaRY$e1Z*1mwa`0{F^+_yCGc(dN1R?{Ya7R>r@sbIGPAuI{WyZJX38eGQ*t=QKrL)5!1Y#1%M-IK~p"
        "e}B?-pE*dwBxkpwl4>o)AZ*wGAM1G(_EUD($UD!)*lw{8{q10qVE~(ukRQf(A>zV{J6P=DJhEKLDz;xhh2>hA)6XmLf<tqz(RnDfgyR(dIko"
        "@4L||Lt)0R^5-7~5z;L9ugW)U_3x|j^kh=-!;AEhKjVwS81_kSl;^GC#2O82(%yM1a?&|04@8TNd(vIe_;!Vj1x|0#kO+T^Fb#aGFXpm!wr@"
        "x;|`(y(HD=^YCurPoC26^XgrLUhiGAusd$iUD5w0kpy06UP{CXf)=WV`+2w)@A}b3xR828IO_QACd2u9wdJ1CxA!D!G60)J6skkl(fid{BN5"
        ")I1+ZJeUVc6ccy%Z*FAR-UUp6ADb9&e`sU|08csD?E"
    ),
    "mjpeg": (
        "c-oV4y}x*|Q(GgW({~{L)X3uWxsk)EsUtVBq$s~QJJG2fDAd}>BoW+@&d2})Z1)6xXP4~q-Q69$x<%A;Wm@o>#)S}`Sjf6;An&#B?j9gdDCB"
        "T@@R}w@F9=sAcsEe8iEY~(h&c?A4736uR~^;5zOk9#$-%dw*C(+o&CE#85Qq$n!W~ih#Y-mST+5oAwPyaRVx47M{~7MDbLs4G2!WUc^3knzP"
        "zMKIZ)7Y!+F=`i@x!5<H+*v%8I-opX)eu6>1bqVYY&U}^$KuxZ*F8%e%#!`loZAAVB&^Ghh2>hA)6XmLN~O8?rdZVeb>kU^FI><11N}Y6c;Z"
        "@KG2YUVwUUTc2_@Ve;3yvmv%Hq7H>*E(4CC1JN?8$*To$!p+Sxzp8kF=?UM}*tiVXmz`_6m804L|mAZ01Z)8~P)X>Pl(D47p|9=buKy#CU<{"
        "DXm%w_n0o57iZg9QXw!GH}Ju(PvsaBu)g5EIDa;N;|lP+VMGJUraoe0+R@f+GL#GO#eP{6E6Dh=GBTl@SbJQNhT>%)-jX&cVsW&B(ya2m=_B"
        "0t`%y%*;$I%&e>|EI^rBpd15>Aghp~p(C4cU?RIxp@>oA#DyHnP8$!323`E1Vw_ae#K|QlE+HwUs-~`?sbyknW^Q3=<?Q0>=I-I?6&w;879J"
        "59m7J2AmY$KBRa{b9R$ftA)!fqB*51+CHEHscsne#<m^o|F;w4L$Enl&6)uzo`wr<<LW9P0zhmRaRcKpQ2Q<pAZxq9vTjhnX~K6?D*>9glAU"
        "cUPH>GPMb-@gC&`AZP!WF{6CW)^mklNp)HLH-eBVO2C_6LJh>Pb?HxGHT=yahkYr<3Ubk<Dd_sNktdA#8gZks(u8y8tiD|+}uQ#qv39bJNf?"
        "s20;!62L=abMkNL&K?Y_)hX1!1c$gW193b1C;pe|DjU@_;x-^*I|I%30zy-wi|1V$_y@*xx5?0Zh;3TLqngmCa;D9ATQ2n!bcmL)_hV5Ozy6"
        "$5W<MI!U%)2LSZq(S`4HIZ$Y6AenfpjJ"
    ),
}
"""By the name of the codec."""
