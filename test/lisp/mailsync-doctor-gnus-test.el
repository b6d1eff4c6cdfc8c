;;; mailsync-doctor-gnus-test.el --- What the doctor says of Gnus  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus with nnmaildir, and the real module: which folder has a group,
;; and why another has none.  Where a reason takes a server of another kind,
;; the function that knows reasons is told one.

;;; Code:

(require 'mailsync-test-helper)
(require 'mailsync-doctor)
(require 'mailsync-gnus-test-helper)

(defun doctor-gnus-test-findings (check)
  "What the doctor finds by CHECK: (LEVEL TEXT REMEDY PLACE) each."
  (save-window-excursion
    (let ((inhibit-message t))
      (mailsync-doctor)))
  (test-wait (lambda () (null mailsync-doctor--waiting)) 60)
  (mapcar #'cddr (seq-filter (lambda (finding) (equal (nth 1 finding) check))
                             mailsync-doctor--findings)))

(ert-deftest doctor-gnus-test-not-running ()
  "A Gnus that does not run is said so, and no group is missed."
  (let ((mailsync-accounts '(("w" :maildir "/nonesuch"))))
    (when (gnus-alive-p)
      (ert-skip "Gnus runs"))
    (pcase (doctor-gnus-test-findings "Gnus")
      (`((note ,text "M-x gnus" "command gnus"))
       (should (string-match-p "Gnus v?[0-9.]+ is loaded, and not running" text)))
      (other (ert-fail other)))
    (should-not (doctor-gnus-test-findings "groups"))))

(ert-deftest doctor-gnus-test-groups ()
  "Each folder without a group is named, with why and what to do."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001" "INBOX")
    (let* ((mail (file-truename (mailsync-gnus-test--directory "INBOX")))
           (mailsync-accounts `(("w" :maildir ,mail)))
           (group (lambda (folder) (mailsync-gnus-test--group 'nnmaildir folder)))
           (texts (lambda ()
                    (mapcar (lambda (finding)
                              (list (car finding)
                                    (replace-regexp-in-string
                                     "[0-9]+" "N" (nth 1 finding))))
                            (doctor-gnus-test-findings "groups")))))
      ;; The corpus has more folders than are subscribed.
      (pcase (doctor-gnus-test-findings "groups")
        (`((note ,text ,remedy "option mailsync-accounts") (ok ,ok "" ""))
         (should (string-match-p "that no group of Gnus shows: " text))
         (should (string-match-p "subscribe to its group" remedy))
         (should (string-match-p "\\`Gnus shows 3 of [0-9]+ folders" ok)))
        (other (ert-fail other)))
      ;; What was found out for that is forgotten.
      (should-not mailsync-gnus--index)
      (should-not mailsync--running)
      (gnus-group-change-level (funcall group "INBOX") gnus-level-killed
                               gnus-level-default-subscribed)
      (gnus-group-change-level (funcall group "folder000") 7
                               gnus-level-default-subscribed)
      (should (member '(warning "N folder whose group is not checked (killed): INBOX")
                      (funcall texts)))
      (should (member '(note "N folder whose group is not checked (level too high): \
folderN")
                      (funcall texts)))
      (should (equal (gnus-group-level (funcall group "folder000")) 7)))))

(ert-deftest doctor-gnus-test-options ()
  "The options that come with Gnus are of their types, too."
  (dolist (library (directory-files mailsync-module--lisp-directory nil
                                    "\\`mailsync-.*\\.el\\'"))
    (require (intern (file-name-sans-extension library))))
  (should (equal (mapcar (lambda (finding) (nth 2 finding))
                         (mailsync-doctor-check-options))
                 '(ok))))

(ert-deftest doctor-gnus-test-reasons ()
  "What is said for each reason."
  (let ((mailsync-accounts--valid '(("w" :maildir "/x"))))
    (cl-letf (((symbol-function 'mailsync-doctor--group-reason)
               (lambda (change) (plist-get change :reason))))
      (pcase-dolist
          (`(,reason ,text ,remedy ,place)
           '(("killed" "not checked (killed)" "\\`subscribe" "")
             ("zombie" "not checked (zombie)" "\\`subscribe" "")
             ("unknown to Gnus" "not checked (unknown" ":gnus-groups"
              "option mailsync-accounts")
             ("level too high" "not checked (level" "S l" "")
             ("never activated" "not checked (never" "M-g" "")
             ("unplugged" "not checked (unplugged" "J j" "")
             ("server closed" "not checked (server closed" "open the server" "")
             ("its parameter nnselect-rescan is not set" "nnselect-rescan" "G p" "")
             ("nnrss groups are not checked" "nnrss" "another kind" "")
             ("no group" "no group of Gnus shows" "subscribe to its group"
              "option mailsync-accounts")
             ("ambiguous" "several nnimap servers" ":gnus-server"
              "option mailsync-accounts")))
        (pcase (mailsync-doctor-check-groups
                "w" `((:account "w" :folder "good")
                      (:account "w" :folder "a" :reason ,reason)))
          (`(("account \"w\"" "groups" note ,said ,do ,where)
             ("account \"w\"" "groups" ok "Gnus shows 1 of 2 folders" "" ""))
           (should (string-match-p (regexp-quote text) said))
           (should (string-suffix-p ": a" said))
           (should (string-match-p remedy do))
           (should (equal (or where "") place)))
          (other (ert-fail other))))
      ;; Without INBOX, or without any, it is worse.
      (dolist (changes '(((:account "w" :folder "INBOX" :reason "killed")
                          (:account "w" :folder "good"))
                         ((:account "w" :folder "a" :reason "killed"))))
        (should (eq (nth 2 (car (mailsync-doctor-check-groups "w" changes)))
                    'warning))))))

(ert-deftest doctor-gnus-test-servers ()
  "A server that Gnus does not have, or an account that it does not show, is said."
  (let ((mailsync-accounts--valid
         '(("w" :remote (imap :host "h") :gnus-server "nonesuch")))
        (mailsync-gnus--index (mailsync-gnus--make-index)))
    (pcase (mailsync-doctor-check-groups "w" nil)
      (`((,_ "groups" warning ,server ,_ "option mailsync-accounts")
         (,_ "groups" warning ,none ,_ "option mailsync-accounts"))
       (should (string-match-p "no nnimap server \"nonesuch\"" server))
       (should (string-match-p "no group of Gnus shows" none)))
      (other (ert-fail other)))))

(ert-deftest doctor-gnus-test-server-without-groups ()
  "A server that Gnus has, and of which no group is subscribed, is no mistake in :gnus-server."
  (let ((mailsync-accounts--valid
         '(("w" :remote (imap :host "h") :gnus-server "far")))
        (mailsync-gnus--index (mailsync-gnus--make-index))
        (gnus-select-method '(nnnil ""))
        (gnus-secondary-select-methods '((nnimap "far" (nnimap-address "h")))))
    (pcase (mailsync-doctor-check-groups "w" nil)
      (`((,_ "groups" warning ,text ,remedy "") . ,_)
       (should (string-search "\"far\"" text))
       (should (string-prefix-p "subscribe" remedy)))
      (other (ert-fail other)))))

(ert-deftest doctor-gnus-test-many-folders ()
  "Looking for the groups of thousands of folders does not keep Emacs."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "INBOX")
    (let* ((mailsync-accounts--valid '(("w" :maildir "/x")))
           (changes (mapcar (lambda (number)
                              (let ((name (format "f%d" number)))
                                (list :account "w" :folder name
                                      :directory (concat "/x/" name)
                                      :truename (concat "/x/" name))))
                            (number-sequence 1 3000)))
           ;; Of the processor: the machine may be busy.
           (began (float-time (get-internal-run-time)))
           (found (mailsync-doctor-check-groups "w" changes))
           (took (- (float-time (get-internal-run-time)) began)))
      (should found)
      (should (< took 0.5)))))

(provide 'mailsync-doctor-gnus-test)
;;; mailsync-doctor-gnus-test.el ends here
